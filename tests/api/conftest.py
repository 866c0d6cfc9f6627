from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lori_cl as cl

WORDS = ("wet", "dry", "flat", "small")


def rows(n: int, name: str, start: int = 0) -> list[dict[str, Any]]:
    """Examples of a task that a tiny encoder can learn; no text is in two splits."""
    return [
        {"text": f"{name} it is {WORDS[i % 2]} {WORDS[2 + i % 2]} {start + i}", "label": WORDS[i % 2]}
        for i in range(n)
    ]


@pytest.fixture
def task() -> Callable[..., cl.Classification]:
    def make(name: str, train: Any = None, eval: Any = None, **fields: Any) -> cl.Classification:
        return cl.Classification(
            name,
            train=rows(12, name) if train is None else train,
            eval=rows(6, name, 100) if eval is None else eval,
            **fields,
        )

    return make


@pytest.fixture
def ws(tmp_path: Path) -> cl.Workspace:
    return cl.Workspace(tmp_path / "work")


@pytest.fixture
def plan(tiny_encoder: Path) -> Callable[..., cl.Curriculum]:
    def make(*tasks: str, **fields: Any) -> cl.Curriculum:
        return cl.Curriculum(
            model=tiny_encoder,
            tasks=tasks,
            **{
                "method": cl.LoRI(rank=4, alpha=8, density=0.2, strategy="random"),
                "train": cl.Train(epochs=1, batch_size=4, max_length=16),
                **fields,
            },
        )

    return make
