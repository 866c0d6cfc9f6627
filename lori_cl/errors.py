"""Every error a user can meet.

LoriError                      exit code 1: the job failed
├── ArtifactMissing            a file the registry names is not on disk
├── ArtifactDamaged            a file's content is not what its digest says
├── TrainingDiverged           the loss is not a finite number
├── Interrupted                the user asked to end
├── RegressionFound            a stage cost an earlier task more than was allowed
├── Untruth                    a run is not what the registry says of it
├── ExportDiffers              PEFT does not load what was exported
├── ContainmentMissing         this machine cannot contain the programs that a model writes
├── OutputError                stdout cannot be written, for instance to a full disk
└── InputError                 exit code 2: what the user gave is wrong
    ├── SpecError              a task or curriculum file, or --set
    ├── DataError              a data set's content
    ├── UnknownTask            a task that nobody added
    ├── UnknownRun             a run that nobody started
    ├── ModelError             the base model cannot be used as asked
    ├── TargetError            adapter.targets name no usable site
    ├── CapacityExhausted      too few free cells for the task
    ├── RunConflict            the run was made otherwise, or another process is at it
    └── WorkspaceUnusable      the registry or the artifacts cannot be opened or written
        └── RegistryTooNew     the registry was written by a newer lori_cl

A message says what is wrong, by how much, and what to do next, in one line, whatever stood in the file or
the name that it repeats.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_MESSAGE = 2_000
"""Characters; a longer message repeats somebody's data, and its ends say what is wrong and what to do."""


LONGEST_NAME = 100
"""Characters of a name that others are compared with: comparing takes a time that grows with their square."""


class LoriError(Exception):
    """The job failed. The command line prints the message and exits with `exit_code`."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(_shortened(message)))


class ArtifactMissing(LoriError):
    """A file that the registry names is not on disk."""


class ArtifactDamaged(LoriError):
    """A file's content is not what its digest says."""


class TrainingDiverged(LoriError):
    """The training loss is not a finite number."""


class Interrupted(LoriError):
    """The user asked to end; what was committed stays, and the same command goes on."""


class RegressionFound(LoriError):
    """A stage cost an earlier task more than was allowed; it is set aside and not committed."""


class Untruth(LoriError):
    """What `lori-cl verify` finds of a run is not what the registry says."""


class ExportDiffers(LoriError):
    """An exported adapter, loaded by PEFT, does not do what it does here; it was removed."""


class ContainmentMissing(LoriError):
    """Programs that a model writes cannot be contained on this machine, so none was run."""


class OutputError(LoriError):
    """A result cannot be written to stdout; the job itself is done."""


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
    """The run was made with other settings or on other weights, or another process writes it."""


class WorkspaceUnusable(InputError):
    """The registry or the artifacts cannot be opened, read or written: missing, read-only, disk full."""


class RegistryTooNew(WorkspaceUnusable):
    """The registry was written by a newer lori_cl; it is left untouched."""


def one_line(text: str) -> str:
    """The text with line breaks, control characters and marks that turn writing around spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """What an error of a library says first, or its name where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def _shortened(message: str) -> str:
    half = LONGEST_MESSAGE // 2
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:half]}…{message[-half:]}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the nearest known name, or an empty string where none is near."""
    if len(name) > LONGEST_NAME:
        return ""
    known = [candidate for candidate in known if len(candidate) <= LONGEST_NAME]
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if not near:
        by_lower = {candidate.lower(): candidate for candidate in known}
        near = [by_lower[name.lower()]] if name.lower() in by_lower else []
    return f" Did you mean '{near[0]}'?" if near else ""
