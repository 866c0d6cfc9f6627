"""Training jobs: what is trained, on which examples and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lori_cl.model_traits import input_device
from lori_cl.models.activation_checkpointing import recompute_activations
from lori_cl.spec import TrainSpec
from lori_cl.training.packing import Packing


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on which examples and for how long."""

    title: str
    """Title of the progress bar."""
    learner: nn.Module
    head: nn.Module | None
    fields: Sequence[dict[str, Any]]
    """The features of every training example."""
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, torch.Tensor]]
    epochs: float
    lr: float
    seed: int
    ids: Sequence[Sequence[int]] = ()
    """The source rows of every training example: one, or those of the examples packed into it."""
    checkpoints: Path | None = None
    """Folder for checkpoints; None: no checkpoints."""
    callbacks: Sequence[Any] = ()
    """`transformers.TrainerCallback`s."""
    batch_loss: Callable[[nn.Module, Mapping[str, Any], torch.Tensor], torch.Tensor] | None = None
    """See `Method.batch_loss`; None leaves the loss as it is."""
    before_step: Callable[[], None] | None = None
    """See `Method.before_step`."""
    group_by_length: bool = False
    """Whether the examples of a batch have similar lengths."""
    packing: Packing | None = None
    """How the examples are packed into rows; None: each is a row of its own."""
    logs: Path = Path()
    """Folder for the files of loggers."""

    def packed(self) -> TrainingJob:
        """Return the job over packed rows; this job, if its examples are not packed."""
        if self.packing is None:
            return self
        groups = self.packing.groups([len(fields["input_ids"]) for fields in self.fields])
        return replace(
            self,
            fields=[self.packing.join([self.fields[i] for i in group]) for group in groups],
            ids=[tuple(row for i in group for row in self.ids[i]) for group in groups],
            collate=self.packing.collate,
            packing=None,
        )


@dataclass(frozen=True)
class TrainResult:
    """Result of a training job."""

    steps: int
    """Number of optimizer steps."""
    loss: float
    """Mean loss over the steps."""


def losses(job: TrainingJob, settings: TrainSpec, examples: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield the loss of each batch of `examples` training examples, drawn with the seed; nothing is trained.

    Dropout is off. The caller may enable gradients; they are cleared at the end. A batch needs no more memory
    than a training step with the same batch size.
    """
    job.learner.eval()
    order = torch.randperm(len(job.fields), generator=torch.Generator().manual_seed(seed))
    chosen = order[:examples].tolist()
    checkpoints = settings.gradient_checkpointing and torch.is_grad_enabled()
    try:
        with recompute_activations(job.learner) if checkpoints else nullcontext():
            for start in range(0, len(chosen), settings.batch_size):
                yield _loss(job, chosen[start : start + settings.batch_size], settings.precision)
    finally:
        job.learner.zero_grad()


def _loss(job: TrainingJob, rows: Sequence[int], precision: str) -> torch.Tensor:
    """Return the loss on these training examples."""
    device = input_device(job.learner)
    batch = job.collate([job.fields[row] for row in rows])
    # fp16 is not used: its gradients underflow without the Trainer's loss scaling.
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss: torch.Tensor = job.learner(**{name: t.to(device) for name, t in batch.items()})["loss"]
    return loss
