from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def documents() -> Callable[[int], Iterator[str]]:
    found: Callable[[int], Iterator[str]] = runpy.run_path(str(ROOT / "examples/demo_base/make_text.py"))[
        "documents"
    ]
    return found


def test_same_seed_generates_the_same_text(documents: Callable[[int], Iterator[str]]) -> None:
    assert list(islice(documents(2), 50)) == list(islice(documents(2), 50)) != list(islice(documents(3), 50))


def test_pretraining_text_contains_no_prompt_of_the_demo_tasks(
    documents: Callable[[int], Iterator[str]],
) -> None:
    text = "\n".join(islice(documents(2), 5000))
    for file in ROOT.glob("lori_cl/demo/tasks/*.yaml"):
        prompt = yaml.safe_load(file.read_text(encoding="utf-8"))["prompt"]
        for phrase in filter(None, (part.strip(" .\n") for part in re.split(r"{{.*?}}|\n", prompt))):
            assert phrase not in text, (file.name, phrase)
    assert not re.search(r"\b(yes|no|unknown)\.?$", text, re.MULTILINE | re.IGNORECASE)
