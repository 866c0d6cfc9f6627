"""A lesson: what is trained, on what, and how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Lesson:
    """What is trained, on what, and how long."""

    title: str
    """What the progress bar says."""
    learner: nn.Module
    head: nn.Module | None
    fields: Sequence[dict[str, Any]]
    """The features of every training example."""
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, torch.Tensor]]
    epochs: float
    lr: float
    seed: int
    ids: Sequence[int] = ()
    """Of every training example, its row in the source."""
    checkpoints: Path | None = None
    """Where it keeps its state while it is under way; None keeps none."""
    logs: Path = Path()
    """Where loggers that write files write them."""


@dataclass(frozen=True)
class Taught:
    """What training reports."""

    steps: int
    """Optimizer steps."""
    loss: float
    """Mean over the steps."""


def losses(lesson: Lesson, batch_size: int, examples: int, seed: int) -> Iterator[torch.Tensor]:
    """The loss on each batch of so many training examples, drawn by the seed; nothing is trained.

    Dropout is off; whether there is a gradient is the caller's choice, and none is left behind.
    """
    lesson.learner.eval()
    device = next(lesson.learner.parameters()).device
    order = torch.randperm(len(lesson.fields), generator=torch.Generator().manual_seed(seed))
    chosen = order[:examples].tolist()
    try:
        for start in range(0, len(chosen), batch_size):
            batch = lesson.collate([lesson.fields[i] for i in chosen[start : start + batch_size]])
            yield lesson.learner(**{name: tensor.to(device) for name, tensor in batch.items()})["loss"]
    finally:
        lesson.learner.zero_grad()
