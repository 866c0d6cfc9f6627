"""Verify a run against the registry, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lori_cl.errors import UnknownRun, VerificationError
from lori_cl.registry import Registry, Workspace
from lori_cl.runtime import Progress
from lori_cl.serving.checks import Evidence, checks_of

T = TypeVar("T")


@dataclass(frozen=True)
class CheckResult:
    """The result of a check that a run has passed."""

    check: str
    found: str
    """What was verified, in a few words."""


def verify(workspace: Workspace, registry: Registry, name: str, progress: Progress) -> Iterator[CheckResult]:
    """Check a run against the registry and its files, without its base model; nothing is written.

    Raises: UnknownRun; VerificationError, at the first check that fails.
    """
    evidence = _run_check("registry", partial(Evidence.of, workspace, registry, name))
    checks = _run_check("registry", partial(checks_of, evidence))
    with progress.bar(f"verifying {name}", len(checks)) as advance:
        for title, check in checks.items():
            yield CheckResult(title, _run_check(title, check))
            advance(1)


def _run_check(title: str, check: Callable[[], T]) -> T:
    """Run a check; records that cannot be read raise VerificationError too."""
    try:
        return check()
    except (VerificationError, UnknownRun):
        raise
    except Exception as error:
        message = str(error).partition("\n")[0]
        raise VerificationError(
            f"{title}: what is recorded cannot be read: {type(error).__name__}: {message}"
        ) from error
