"""What a continual-learning method is: a handful of hooks around a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lori_cl.registry import MaskRecord, Projection
from lori_cl.spec import CurriculumSpec

Tensors = Mapping[str, Tensor]
"""What a stage leaves behind: all that is needed to make its adapter act again."""


@dataclass(frozen=True)
class StageContext:
    """What a method is told of the stage that begins."""

    task: str
    """The task's label."""
    history: Sequence[tuple[str, Tensors]]
    """(task label, tensors) of every stage before, in order."""
    mask_seed: int
    """For drawing this task's mask."""
    calibrate: Callable[[float | None, float], None]
    """(epochs, lr): train what the model has open, on this task, with a head that is thrown away; for as many
    epochs as the stage itself where they are None."""


class Method(ABC):
    """One algorithm. What it learns lives in the model; between stages it remembers nothing."""

    default_lr: ClassVar[float]
    """The learning rate where the curriculum names none."""

    def __init__(self, curriculum: CurriculumSpec) -> None:
        self.curriculum = curriculum

    @abstractmethod
    def attach(self, base: nn.Module, seed: int) -> Any:
        """Put the adapter into the base model, whose weights are frozen; return the PeftModel.

        Raises: TargetError, if `adapter.targets` cannot be adapted.
        """

    @abstractmethod
    def projection(self) -> Projection | None:
        """The frozen A's as they stand in the model; None for a method that trains its A."""

    @abstractmethod
    def check_room(self, tasks: Sequence[str]) -> None:
        """Make sure, before anything is trained, that all tasks fit.

        Raises: CapacityExhausted, naming the first that does not.
        """

    @abstractmethod
    def begin_stage(self, context: StageContext) -> MaskRecord | None:
        """Make the model ready to train the task; return the cells it was given, for a method with masks."""

    @abstractmethod
    def end_stage(self) -> Tensors:
        """What the stage has learned, on the CPU."""

    @abstractmethod
    def activate(self, history: Sequence[Tensors]) -> None:
        """Make the adapter act as it stood after these stages; nothing is trainable then."""

    @abstractmethod
    def acting_digest(self) -> str:
        """SHA-256 of everything of the adapter that acts on an input right now."""
