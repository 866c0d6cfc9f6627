"""The second half of the interface, for methods in which every task owns cells of one adapter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from lori_cl.adapters import ExternalAdapter
from lori_cl.masks import Mask
from lori_cl.methods.base import Method
from lori_cl.methods.stages import StageContext, StageState
from lori_cl.registry import MaskRecord, Projection


class MaskedMethod(Method):
    """A method with masks: tasks own cells under frozen projections A, and cells can run out."""

    @abstractmethod
    def projection(self) -> Projection:
        """Return the run's frozen projections A."""

    @abstractmethod
    def projections_of(self, history: Sequence[StageState]) -> Sequence[str]:
        """Return the digest of each finished stage's projections A, as computed now."""

    @abstractmethod
    def check_capacity(self, past: Sequence[StageState], tasks: Sequence[str]) -> None:
        """Check, before training, that these tasks fit in addition to the finished stages.

        Raises: CapacityExhausted, naming the first task that does not fit.
        """

    @abstractmethod
    def check_importable(self, imported: ExternalAdapter, tasks: Sequence[str]) -> None:
        """Check that the adapter can be imported for the first of these tasks.

        Raises: InputError, naming the mismatch; CapacityExhausted.
        """

    @abstractmethod
    def import_stage(self, context: StageContext, imported: ExternalAdapter) -> MaskRecord:
        """Claim the cells of an imported adapter, instead of `begin_stage` and training.

        `check_importable` has checked the adapter.
        """

    @abstractmethod
    def mask_of(self, state: StageState) -> Mask:
        """Return the mask that the stage claimed."""
