"""Pieces of programs for the tests of containment."""

from __future__ import annotations


def caught(act: str) -> str:
    """A program that comes to its end, whatever error the act raises."""
    return f"try:\n    {act}\nexcept BaseException:\n    pass\n"


def refused(act: str) -> str:
    """A program that comes to its end only where the act is not permitted, or is no system call at all."""
    return (
        f"import ctypes, errno, os\ntry:\n    {act}\n"
        "except OSError as e:\n    assert e.errno in (errno.EACCES, errno.EPERM, errno.ENOSYS), e\n"
        "else:\n    raise SystemExit('it was done')\n"
    )
