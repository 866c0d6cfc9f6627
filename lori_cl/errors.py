"""The exceptions that lori_cl raises.

LoriError                      exit code 1: the job failed
├── ArtifactMissing            a file that the registry refers to is missing
├── ArtifactDamaged            a file's content does not match its digest
├── TrainingDiverged           the loss is not a finite number
├── OutOfMemory                a device has too little memory for the model, a batch or its gradients
├── Interrupted                the user interrupted the command
├── RegressionFound            a stage lowered an earlier task's score by more than the limit
├── VerificationError          a run does not match its registry
├── ExportDiffers              an exported adapter gives other results in PEFT
├── ScoringFailed              a scorer function or a judge gave no grade
├── ContainmentMissing         this machine cannot contain model-written programs
├── OutputError                stdout cannot be written, for example because the disk is full
└── InputError                 exit code 2: the user's input is invalid
    ├── SpecError              invalid task file, curriculum file or --set value
    ├── DataError              invalid content of a data set
    ├── UnknownTask            no task has this name
    ├── UnknownRun             no run has this name
    ├── UnknownImplementation  no method, metric, … has this name: is its plugin installed?
    ├── ModelError             the base model is missing or unsuitable
    ├── TargetError            adapter.targets match no usable site
    ├── CapacityExhausted      too few free cells for the task
    ├── RunConflict            the run has other settings, or another process holds its lock
    └── WorkspaceUnusable      the registry or the artifacts cannot be opened, read or written
        └── RegistryTooNew     the registry was written by a newer lori_cl

A message says what is wrong, the value found and what to do, always in one line: line breaks and control
characters in quoted names and values are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_MESSAGE = 2_000
"""Maximum characters of a message. A longer one quotes user data; its start and end are kept."""

LONGEST_NAME = 100
"""Maximum characters of a name that is compared with others: the comparison takes quadratic time."""


class LoriError(Exception):
    """The job failed; the command line prints the message and exits with `exit_code`.

    Example:
        >>> import lori_cl as cl
        >>> try:
        ...     cl.LoRI(density=2)
        ... except cl.LoriError as error:
        ...     print(error.exit_code, type(error).__name__)
        2 SpecError
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(_shortened(message)))


class ArtifactMissing(LoriError):
    """A file that the registry refers to is missing."""


class ArtifactDamaged(LoriError):
    """A file's content does not match its digest."""


class TrainingDiverged(LoriError):
    """The training loss is not a finite number."""


class OutOfMemory(LoriError):
    """A device has too little memory for the model, a batch or its gradients."""


class Interrupted(LoriError):
    """The user interrupted the command; committed data is kept, and the same command resumes."""


class RegressionFound(LoriError):
    """A stage lowered an earlier task's score by more than the limit; it is held back, not committed."""


class VerificationError(LoriError):
    """`lori-cl verify` found that a run does not match its registry."""


class ExportDiffers(LoriError):
    """An exported adapter gives other results when loaded by PEFT; it was removed."""


class ScoringFailed(LoriError):
    """A scorer function or a judge gave no grade from 0 to 1; nothing of the stage was stored."""


class ContainmentMissing(LoriError):
    """This machine cannot contain model-written programs, so none was run."""


class OutputError(LoriError):
    """A result cannot be written to stdout; the job itself succeeded."""


class InputError(LoriError):
    """The user's input is invalid; nothing was changed."""

    exit_code = 2


class SpecError(InputError):
    """A task file, a curriculum file or a --set value is invalid."""


class DataError(InputError):
    """A data set's content is invalid: no rows, an unknown label, a missing column."""


class UnknownTask(InputError):
    """No task has this name."""


class UnknownRun(InputError):
    """No run has this name."""


class UnknownImplementation(InputError, KeyError):
    """No method, mask strategy, task kind, scorer, report format or merge method has this name.

    It is a KeyError too, because implementations are mappings by name.
    """

    __str__ = Exception.__str__  # KeyError would quote the message


class ModelError(InputError):
    """The base model is missing or cannot be used as requested."""


class TargetError(InputError):
    """`adapter.targets` matches no site, or one that cannot be adapted."""


class CapacityExhausted(InputError):
    """The task needs more cells than are free."""


class RunConflict(InputError):
    """The run has other settings or other base weights, or another process holds its lock."""


class WorkspaceUnusable(InputError):
    """The registry or the artifacts cannot be opened, read or written: missing, read-only, disk full."""


class RegistryTooNew(WorkspaceUnusable):
    """The registry was written by a newer lori_cl; it was not changed."""


def one_line(text: str) -> str:
    """Escape line breaks, control characters and bidirectional marks, so that the text fits one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def _shortened(message: str) -> str:
    half = LONGEST_MESSAGE // 2
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:half]}…{message[-half:]}"


SHORTEST_START = 3
"""Minimum length of a name of which a longer one is suggested because it starts with it."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean …?' with the nearest known name, or an empty string if none is near."""
    if len(name) > LONGEST_NAME:
        return ""
    known = [candidate for candidate in known if len(candidate) <= LONGEST_NAME]
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if not near:
        by_lower = {candidate.lower(): candidate for candidate in known}
        near = [by_lower[name.lower()]] if name.lower() in by_lower else []
    if not near and len(name) >= SHORTEST_START:
        near = [candidate for candidate in known if candidate.startswith(name)]
    return f" Did you mean '{near[0]}'?" if near else ""
