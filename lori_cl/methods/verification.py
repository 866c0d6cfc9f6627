"""What a method's own checks of `lori-cl verify` are given, and how they compare it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lori_cl.errors import VerificationError
from lori_cl.methods.stages import StageState
from lori_cl.registry import Run, Stage
from lori_cl.spec import CurriculumSpec


class StoredRun(Protocol):
    """The records of a run, and its stages as read from their files."""

    @property
    def run(self) -> Run:
        """The run, as the registry records it."""

    @property
    def curriculum(self) -> CurriculumSpec:
        """The run's curriculum, with defaults for fields that are newer than the run."""

    @property
    def states(self) -> Sequence[StageState]:
        """Every finished stage, read from its file."""

    @property
    def metadata(self) -> Sequence[Mapping[str, Any]]:
        """The metadata of each stage's file."""

    def at(self, position: int) -> str:
        """Return the name of a stage, from 1: 'stage 2 agnews'."""

    def file_of(self, stage: Stage) -> Path:
        """Return the path of a stage's file."""


def expect(where: str, what: str, found: Any, recorded: Any) -> None:
    """Check that a value found is equal to the one in the registry.

    Raises: VerificationError, with both values; for mappings and lists, with the first items that differ.
    """
    if found == recorded:
        return
    if isinstance(found, Mapping | list | tuple) and type(found) is type(recorded):
        found, recorded = (_by_key(items) for items in (found, recorded))
        absent = object()  # distinct from None
        key = next(k for k in (*found, *recorded) if found.get(k, absent) != recorded.get(k, absent))
        what, found, recorded = f"{what} [{key}]", found.get(key, "nothing"), recorded.get(key, "nothing")
    raise VerificationError(f"{where}: {what} is {found}, and the registry says {recorded}")


def _by_key(items: Any) -> Mapping[Any, Any]:
    return items if isinstance(items, Mapping) else dict(enumerate(items))
