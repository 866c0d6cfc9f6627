"""The interface of a continual-learning method: hooks around the training of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from lori_cl.methods.stages import Fields, StageContext, StageResult, StageSize, StageState, Tensors
from lori_cl.methods.verification import StoredRun
from lori_cl.registry import MaskRecord
from lori_cl.spec import CurriculumSpec
from lori_cl.spec.method_settings import MethodSettings


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

    def stage_sizes(self, past: Sequence[StageState], tasks: Sequence[str]) -> Sequence[StageSize] | None:
        """Return the size of the stage of each of these tasks, which follow the stages of `past`.

        The adapter is attached. By default None: the sizes are not known before training.
        """
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
