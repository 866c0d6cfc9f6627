"""What one contained program may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one program may use. Under any limits it starts no process or thread, and opens no socket."""

    seconds: float = 10.0
    """By the clock, from the program's first line to its end."""
    memory_bytes: int = 512 * 2**20
    """Of address space, the interpreter's own 30 MiB among them."""
    file_bytes: int = 2**20
    """The size of any one file."""
    files: int = 16
    """In its directory, at any glance of the watching parent."""
    output_bytes: int = 2**20
    """Printed to stdout and stderr together."""
