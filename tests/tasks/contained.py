"""Program fragments for the containment tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lori_cl.tasks.containment import Limits, Program, Verdict, judge_program
from lori_cl.tasks.containment.run import DEFAULT, in_parallel


def caught(act: str) -> str:
    """A program that completes whatever error the action raises."""
    return f"try:\n    {act}\nexcept BaseException:\n    pass\n"


def refused(act: str) -> str:
    """A program that completes only if the action is not permitted or its system call does not exist."""
    return (
        f"import ctypes, errno, os\ntry:\n    {act}\n"
        "except OSError as e:\n    assert e.errno in (errno.EACCES, errno.EPERM, errno.ENOSYS), e\n"
        "else:\n    raise SystemExit('it was done')\n"
    )


def passes(program: str, limits: Limits = DEFAULT) -> bool:
    """Return whether a program that contains its own tests completes, without an error or an early exit."""
    return judge_program(Program(program), limits) is Verdict.PASSED


def pass_all(programs: Sequence[str], limits: Limits = DEFAULT) -> list[bool]:
    """Return `passes` of each program; they run in parallel, as in scoring."""
    return in_parallel(partial(passes, limits=limits), programs, limits)
