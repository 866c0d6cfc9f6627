"""What a continual-learning method is: a handful of hooks around a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lori_cl.adapters import ForeignAdapter
from lori_cl.errors import InputError
from lori_cl.masks import Mask
from lori_cl.registry import MaskRecord, Projection, acts_after
from lori_cl.spec import CurriculumSpec

Tensors = Mapping[str, Tensor]
"""What a stage leaves behind: all that is needed to make its adapter act again."""


@dataclass(frozen=True)
class Learned:
    """A finished stage, as methods know it."""

    task: str
    """The task's label."""
    tensors: Tensors
    """What the stage left behind."""
    seeds: Mapping[str, int]
    """By purpose: 'mask', 'projection', …"""
    retired_after: int | None = None
    """How many stages were done when its task was retired; None where it was not."""

    def acts_after(self, stages: int) -> bool:
        """Whether it still acts when so many stages are done."""
        return acts_after(self.retired_after, stages)


def standing(past: Sequence[Learned]) -> Sequence[Learned]:
    """Those of these stages that were not retired, in order."""
    return [learned for learned in past if learned.retired_after is None]


@dataclass(frozen=True)
class StageContext:
    """What a method is told of a stage, when it begins and when it ends."""

    task: str
    """The task's label."""
    past: Sequence[Learned]
    """All stages before, in order."""
    seeds: Mapping[str, int]
    """This stage's own, by purpose."""
    tasks_left: int
    """How many tasks the run has still to learn, this one included."""
    calibrate: Callable[[float | None, float], None]
    """(epochs, lr): train what the model has open, on this task, with a head that is thrown away; for as many
    epochs as the stage itself where they are None."""
    losses: Callable[[int], Iterator[Tensor]]
    """(examples): the task's loss, batch after batch, over so many training examples; all, where there are
    fewer. Before the stage under the task's head as it was drawn, after it as it was trained."""
    n_train: int
    """Training examples."""

    @property
    def history(self) -> Sequence[Learned]:
        """The stages before that still act, in order."""
        return standing(self.past)


@dataclass(frozen=True)
class Outcome:
    """What a stage leaves behind."""

    tensors: Tensors
    """On the CPU."""
    directions: Mapping[str, int] | None = None
    """Input directions that the task took of each site, for a method that keeps later tasks out of them."""


class Method(ABC):
    """One algorithm. What it learns lives in the model; between stages it remembers nothing."""

    default_lr: ClassVar[float]
    """The learning rate where the curriculum names none."""

    overwrites: ClassVar[bool] = False
    """Whether every stage writes over the last, so that its tensors hold all that acts."""

    def __init__(self, curriculum: CurriculumSpec) -> None:
        self.curriculum = curriculum

    @property
    def carries_on(self) -> bool:
        """Whether what a stage leaves behind holds what it carried on from earlier ones, too."""
        return self.overwrites

    @abstractmethod
    def attach(self, base: nn.Module, seed: int, sites: Sequence[str] | None = None) -> Any:
        """Put the adapter into the base model, whose weights are frozen; return the PeftModel.

        `sites` are the modules to adapt; None selects them by `adapter.targets`.
        Raises: TargetError, if `adapter.targets` cannot be adapted.
        """

    def sites_of(self, tensors: Tensors) -> Sequence[str] | None:
        """The sites whose adapter a stage's tensors hold, for a method whose runs do not record a projection;
        None where they do not say."""
        return None

    @abstractmethod
    def projection(self) -> Projection | None:
        """The frozen A's of the run; None for a method that trains its A."""

    def projections_of(self, history: Sequence[Learned]) -> Sequence[str | None]:
        """Of every finished stage, the digest of the A's that it acts under, as they are made now; None where
        A is trained."""
        return [None] * len(history)

    @abstractmethod
    def check_room(self, past: Sequence[Learned], tasks: Sequence[str]) -> None:
        """Make sure, before anything is trained, that these tasks fit beside those learned.

        Raises: CapacityExhausted, naming the first that does not.
        """

    @abstractmethod
    def begin_stage(self, context: StageContext) -> MaskRecord | None:
        """Make the model ready to train the task; return the cells it was given, for a method with masks."""

    def check_importable(self, imported: ForeignAdapter, tasks: Sequence[str]) -> None:
        """Make sure that the first of these tasks can take over an adapter from elsewhere.

        Raises: InputError, with what does not fit; CapacityExhausted.
        """
        raise InputError(f"method {self.curriculum.method} cannot take over an adapter; set method: lori")

    def import_stage(self, context: StageContext, imported: ForeignAdapter) -> MaskRecord:
        """In place of `begin_stage` and training: claim the cells of an adapter that was checked before."""
        raise NotImplementedError

    @abstractmethod
    def end_stage(self, context: StageContext) -> Outcome:
        """What the stage has learned."""

    def mask_of(self, learned: Learned) -> Mask | None:
        """The cells that the stage claimed; None for a method without masks."""
        return None

    @abstractmethod
    def activate(self, history: Sequence[Learned]) -> None:
        """Make everything that these stages learned act; nothing is trainable then."""

    def as_trained(self, history: Sequence[Learned]) -> Sequence[Learned]:
        """Of these stages, those that the last one was trained on top of, and itself."""
        return history

    @abstractmethod
    def acting_digest(self) -> str:
        """SHA-256 of everything of the adapter that acts on an input right now."""
