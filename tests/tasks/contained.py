"""Program fragments for the containment tests."""

from __future__ import annotations


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
