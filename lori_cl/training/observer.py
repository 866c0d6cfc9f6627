"""Who watches a run: the command line draws bars, tests watch in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Tell that so many more units are done. Raises: Interrupted, where the user has asked to end."""


class Observer(Protocol):
    """Told of everything that takes time."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Something of `total` units begins; it ends when the context does."""


class SilentObserver:
    """Says nothing."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Watch in silence."""
        yield lambda units: None
