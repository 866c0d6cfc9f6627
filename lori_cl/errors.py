"""Every error a user can meet.

LoriError                      exit code 1: the job failed
├── ArtifactMissing            a file the registry names is not on disk
├── ArtifactDamaged            a file's content is not what its digest says
├── TrainingDiverged           the loss is not a finite number
├── Untruth                    a run is not what the registry says of it
├── ExportDiffers              PEFT does not load what was exported
├── ContainmentMissing         this machine cannot contain the programs that a model writes
└── InputError                 exit code 2: what the user gave is wrong
    ├── SpecError              a task or curriculum file, or --set
    ├── DataError              a data set's content
    ├── UnknownTask            a task that nobody added
    ├── UnknownRun             a run that nobody started
    ├── ModelError             the base model cannot be used as asked
    ├── TargetError            adapter.targets name no usable site
    ├── CapacityExhausted      too few free cells for the task
    ├── RunConflict            the run exists and was made otherwise
    └── WorkspaceUnusable      the registry or the artifacts cannot be opened or written
        └── RegistryTooNew     the registry was written by a newer lori_cl

A message says what is wrong, by how much, and what to do next, in one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LoriError(Exception):
    """The job failed. The command line prints the message and exits with `exit_code`."""

    exit_code = 1


class ArtifactMissing(LoriError):
    """A file that the registry names is not on disk."""


class ArtifactDamaged(LoriError):
    """A file's content is not what its digest says."""


class TrainingDiverged(LoriError):
    """The training loss is not a finite number."""


class Untruth(LoriError):
    """What `lori-cl verify` finds of a run is not what the registry says."""


class ExportDiffers(LoriError):
    """An exported adapter, loaded by PEFT, does not do what it does here; it was removed."""


class ContainmentMissing(LoriError):
    """Programs that a model writes cannot be contained on this machine, so none was run."""


class InputError(LoriError):
    """What the user gave is wrong; nothing was changed."""

    exit_code = 2


class SpecError(InputError):
    """A task file, a curriculum file or a --set value is wrong."""


class DataError(InputError):
    """A data set's content is wrong: no rows, an unknown label, a missing column."""


class UnknownTask(InputError):
    """A task that nobody added."""


class UnknownRun(InputError):
    """A run that nobody started."""


class ModelError(InputError):
    """The base model cannot be found, or cannot be used as asked."""


class TargetError(InputError):
    """`adapter.targets` names no site, or one that cannot be adapted."""


class CapacityExhausted(InputError):
    """The task asks for more cells than are free."""


class RunConflict(InputError):
    """A run of this name exists, made with other settings or on other weights."""


class WorkspaceUnusable(InputError):
    """The registry or the artifacts cannot be opened, read or written: missing, read-only, disk full."""


class RegistryTooNew(WorkspaceUnusable):
    """The registry was written by a newer lori_cl; it is left untouched."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the nearest known name, or an empty string where none is near."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if not near:
        by_lower = {candidate.lower(): candidate for candidate in known}
        near = [by_lower[name.lower()]] if name.lower() in by_lower else []
    return f" Did you mean '{near[0]}'?" if near else ""
