"""Whether a run is what the registry says of it, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lori_cl.errors import UnknownRun, Untruth
from lori_cl.registry import Registry, Workspace
from lori_cl.serving.checks import CHECKS, Evidence

T = TypeVar("T")


@dataclass(frozen=True)
class Checked:
    """A check that a run has passed."""

    check: str
    found: str
    """What it is now certain of, in a few words."""


def verify(workspace: Workspace, registry: Registry, name: str) -> Iterator[Checked]:
    """Check a run against the registry and its files, without its base model; nothing is written.

    Raises: UnknownRun; Untruth, at the first check that finds something else.
    """
    evidence = _look("registry", partial(Evidence.of, workspace, registry, name))
    for title, check in CHECKS.items():
        yield Checked(title, _look(title, partial(check, evidence)))


def _look(title: str, look: Callable[[], T]) -> T:
    """What a look gives; what cannot even be read is an untruth, too."""
    try:
        return look()
    except (Untruth, UnknownRun):
        raise
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise Untruth(f"{title}: what is recorded cannot be read: {type(error).__name__}: {said}") from error
