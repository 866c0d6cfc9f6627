"""Progress reporting: the command line draws bars; tests use `SilentProgress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Report a number of finished units. Raises: Interrupted, if the user has interrupted the command."""


class Progress(Protocol):
    """Receives the progress of long operations."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Show the progress of an operation of `total` units; it ends with the context."""


class SilentProgress:
    """Reports nothing."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Report nothing."""
        yield lambda units: None
