"""The interface of a continual-learning method: hooks around the training of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from lori_cl.registry import MaskRecord, is_active_after
from lori_cl.routing import StoredStatistics
from lori_cl.spec import CurriculumSpec
from lori_cl.spec.method_settings import MethodSettings

if TYPE_CHECKING:
    from lori_cl.methods.verification import StoredRun

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
    examples_of: Callable[[str], Sequence[Fields]]
    """(label): the tokenised training examples of an earlier task, for methods that replay them.

    Raises: InputError: that task has another head than this one; DataError: its data changed or is missing.
    """

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


class Method(ABC):
    """A continual-learning algorithm. Its trained state is in the model; it keeps no state between stages.

    The order of the hooks: `attach` once; then, for each stage, `begin_stage`, `training_examples`, for every
    batch `batch_loss`, before every optimizer step `before_step`, and `end_stage`. `activate` selects the
    stages that are active, for an evaluation. `MaskedMethod` is the second half, for methods with masks.
    """

    settings_class: ClassVar[type[MethodSettings]]
    """The settings that the method reads; a curriculum that sets another one is refused."""

    default_lr: ClassVar[float]
    """The learning rate if the curriculum sets none."""

    overwrites: ClassVar[bool] = False
    """Whether each stage overwrites the previous one, so that its tensors hold the whole adapter."""

    def __init__(self, curriculum: CurriculumSpec) -> None:
        self.curriculum = curriculum
        self.settings = self.settings_class.of(curriculum)

    @classmethod
    def checks(cls, stored: StoredRun) -> Mapping[str, Callable[[], str]]:
        """Return the method's own checks of `lori-cl verify`, by title, in order; by default none.

        A check returns a line that says what was verified; it raises VerificationError if files and registry
        differ (see `expect` in `lori_cl/methods/verification.py`). The files have their registered digests.
        """
        return {}

    @property
    def is_cumulative(self) -> bool:
        """Whether a stage's tensors include values that it trained further from earlier stages."""
        return self.overwrites

    @abstractmethod
    def attach(self, base: nn.Module, seed: int, sites: Sequence[str] | None = None) -> Any:
        """Attach the adapter to the base model, whose weights are frozen; return the PeftModel.

        `sites` are the modules to adapt; None selects them by `adapter.targets`.
        Raises: TargetError, if `adapter.targets` cannot be adapted.
        """

    def sites_of(self, tensors: Tensors) -> Sequence[str] | None:
        """Return the sites of a stage's tensors if runs record no projection; None if unknown."""
        return None

    @abstractmethod
    def begin_stage(self, context: StageContext) -> MaskRecord | None:
        """Prepare the model to train the task; return the record of its mask, for a method with masks."""

    def training_examples(self, context: StageContext, examples: Sequence[Fields]) -> Sequence[Fields]:
        """Return the examples to train on; by default the task's own. Replay adds some of earlier tasks."""
        return examples

    def batch_loss(self, learner: nn.Module, batch: Mapping[str, Any], loss: Tensor) -> Tensor:
        """Return the loss to minimise on a batch, given the task's own; by default that one.

        `learner` is the model with the task's head, and `batch` what its forward was given.
        """
        return loss

    def before_step(self) -> None:  # noqa: B027 (a hook that most methods do not need)
        """Change gradients in place, before every optimizer step; by default nothing."""

    @abstractmethod
    def end_stage(self, context: StageContext) -> StageResult:
        """Return the result of the trained stage."""

    @abstractmethod
    def activate(self, history: Sequence[StageState]) -> None:
        """Activate exactly these stages; no parameter is trainable afterwards."""

    def as_trained(self, history: Sequence[StageState]) -> Sequence[StageState]:
        """Return the last of these stages and the stages it was trained on top of."""
        return history

    def acting_as_trained(self, history: Sequence[StageState], position: int) -> Sequence[StageState]:
        """Return the stages active when the task at this position, from 1, was trained, its own included."""
        return self.as_trained([state for state in history[:position] if state.is_active_after(position)])

    @abstractmethod
    def acting_digest(self) -> str:
        """SHA-256 of every part of the adapter that is active."""
