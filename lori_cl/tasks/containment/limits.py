"""Resource limits and verdicts of contained programs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """The result of a program."""

    PASSED = "passed"
    """The program and its tests completed without an error."""
    FAILED = "failed"
    """An error, an early exit, a forbidden system call, or a limit on memory, files or output."""
    TIMED_OUT = "timed out"
    """It exceeded its processor time limit, or waited too long."""


@dataclass(frozen=True)
class Limits:
    """Resource limits of one program. A program can never start a process or thread, or open a socket."""

    seconds: float = 10.0
    """Processor time of the program and its tests together. A program that waits this long without using the
    processor is also ended."""
    memory_bytes: int = 512 * 2**20
    """Address space, including the interpreter's 30 MiB. The tests' process has the same limit."""
    file_bytes: int = 2**20
    """Maximum size of one file."""
    files: int = 16
    """Maximum number of files in its directory at a time."""
    created_files: int = 64
    """Maximum number of files created in total. A deleted file uses disk space while it is open or mapped, so
    this times `file_bytes` bounds the program's disk use."""
    output_bytes: int = 2**20
    """Maximum output to stdout and stderr together."""

    @property
    def wall_seconds(self) -> float:
        """Wall-clock limit, long enough that a loaded machine does not fail a correct program."""
        return 4 * self.seconds + 10
