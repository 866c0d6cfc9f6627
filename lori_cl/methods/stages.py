"""What methods are given of stages, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lori_cl.registry import is_active_after
from lori_cl.routing import StoredStatistics

Tensors = Mapping[str, Tensor]
"""The tensors of a stage: everything needed to activate its adapter again."""


Fields = dict[str, Any]
"""A tokenised training example: what the task kind's collate function takes."""


@dataclass(frozen=True)
class StageState:
    """A finished stage, with what later stages and views need of it."""

    task: str
    """The task's label."""
    tensors: Tensors
    """The tensors stored by the stage."""
    seeds: Mapping[str, int]
    """By purpose: 'mask', 'projection', …"""
    retired_after: int | None = None
    """Number of finished stages when its task was retired; None if it is not retired."""
    head: nn.Module | None = None
    """The task's own head."""
    artifact: str = ""
    """Digest of its file; empty if it has none."""
    router: StoredStatistics | None = None
    """Router statistics, if the run is scored in the view `routed`."""

    def is_active_after(self, stages: int) -> bool:
        """Whether the stage is active after the given number of stages."""
        return is_active_after(self.retired_after, stages)


def active_stages(past: Sequence[StageState]) -> Sequence[StageState]:
    """Return the stages that are not retired, in order."""
    return [state for state in past if state.retired_after is None]


@dataclass(frozen=True)
class StageContext:
    """What a method receives about a stage, at its start and at its end."""

    task: str
    """The task's label."""
    past: Sequence[StageState]
    """All earlier stages, in order."""
    seeds: Mapping[str, int]
    """The seeds of this stage, by purpose."""
    tasks_left: int
    """Number of tasks that the run still has to train, including this one."""
    calibrate: Callable[[float | None, float], None]
    """(epochs, lr): train the model's trainable parameters on this task, with a temporary head.

    epochs=None: as many epochs as the stage itself.
    """
    losses: Callable[[int], Iterator[Tensor]]
    """(examples): yield the task's loss on each batch of at most so many training examples.

    The task's head is untrained before the stage and trained after it.
    """
    n_train: int
    """Number of training examples."""
    epochs: float
    """Number of epochs of the stage."""
    examples_of: Callable[[str], Sequence[Fields]]
    """(label): the tokenised training examples of an earlier task, for methods that replay them.

    Raises: InputError: that task has another head than this one; DataError: its data changed or is missing.
    """

    read_protected: Callable[[], None] | None = None
    """Run the model, as it is now, on the texts of `adapter.null_space.protect`; None if unknown."""

    @property
    def history(self) -> Sequence[StageState]:
        """The earlier stages that are not retired, in order."""
        return active_stages(self.past)


@dataclass(frozen=True)
class StageResult:
    """The result of a stage."""

    tensors: Tensors
    """On the CPU."""
    directions: Mapping[str, int] | None = None
    """Number of input directions reserved for the task at each site, for a method that protects them."""


@dataclass(frozen=True)
class StageSize:
    """How many values of the adapter a planned stage trains, for `lori-cl run --dry-run`."""

    trained: int
    """Values that the stage trains, without a head."""
    fixed_bytes: int = 0
    """Memory of the rest of the adapter meanwhile: A, the cells that are not trained, and indices."""
    calibrated: int = 0
    """Values that are trained first, to select the stage's own; 0 if there is no such training."""
    calibration_epochs: float | None = None
    """Epochs of that training; None: `calibration_fraction` of the stage's."""
    calibration_fraction: float = 1.0
    """Length of that training as a fraction of the stage's epochs."""
    scored: int = 0
    """Values whose gradients select the stage's own, without training."""
