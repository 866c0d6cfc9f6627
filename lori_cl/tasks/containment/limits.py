"""What one contained program may use, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a program ended."""

    PASSED = "passed"
    """It came to its end, and so did its tests, with no error."""
    FAILED = "failed"
    """An error, an early exit, a forbidden system call, or a limit on memory, files or output."""
    TIMED_OUT = "timed out"
    """It used more processor time than it may, or waited too long."""


@dataclass(frozen=True)
class Limits:
    """What one program may use. Under any limits it starts no process or thread, and opens no socket."""

    seconds: float = 10.0
    """Of processor time, the program and its tests together. A program that waits this long without using the
    processor is ended, too."""
    memory_bytes: int = 512 * 2**20
    """Of address space, the interpreter's own 30 MiB among them; the tests' process may use as much again."""
    file_bytes: int = 2**20
    """The size of any one file."""
    files: int = 16
    """In its directory at any one time."""
    created_files: int = 64
    """Created in the program's whole life. A deleted file takes up space as long as it is open or mapped, so
    this times `file_bytes` bounds what a program takes of the disk."""
    output_bytes: int = 2**20
    """Printed to stdout and stderr together."""

    @property
    def wall_seconds(self) -> float:
        """By the clock, so long that a loaded machine does not fail a correct program."""
        return 4 * self.seconds + 10
