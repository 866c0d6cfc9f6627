"""A lesson: what is trained, on what, and how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lori_cl.spec import TrainSpec
from lori_cl.training.recomputing import recomputed


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


def losses(lesson: Lesson, settings: TrainSpec, examples: int, seed: int) -> Iterator[torch.Tensor]:
    """The loss on each batch of so many training examples, drawn by the seed; nothing is trained.

    Dropout is off; whether there is a gradient is the caller's choice, and none is left behind. One costs no
    more memory than a step of training with the same batch size.
    """
    lesson.learner.eval()
    order = torch.randperm(len(lesson.fields), generator=torch.Generator().manual_seed(seed))
    chosen = order[:examples].tolist()
    checkpoints = settings.gradient_checkpointing and torch.is_grad_enabled()
    try:
        with recomputed(lesson.learner) if checkpoints else nullcontext():
            for start in range(0, len(chosen), settings.batch_size):
                yield _loss(lesson, chosen[start : start + settings.batch_size], settings.precision)
    finally:
        lesson.learner.zero_grad()


def _loss(lesson: Lesson, rows: Sequence[int], precision: str) -> torch.Tensor:
    """The loss on these training examples."""
    device = next(lesson.learner.parameters()).device
    batch = lesson.collate([lesson.fields[row] for row in rows])
    # Not in fp16, whose gradients vanish without the Trainer's scaling of the loss.
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss: torch.Tensor = lesson.learner(**{name: of.to(device) for name, of in batch.items()})["loss"]
    return loss
