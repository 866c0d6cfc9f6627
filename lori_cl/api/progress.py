"""Progress bars by tqdm: in a terminal, and as widgets in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from lori_cl.runtime import Progress, SilentProgress
from lori_cl.runtime.progress import Advance


class TqdmProgress:
    """Draws one bar for everything that takes time, and removes it when that ends."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Draw a bar of `total` units until the context ends."""
        with tqdm(total=total, desc=title, leave=False) as drawn:
            yield lambda units: drawn.update(units) and None


def progress_of(wanted: Progress | bool) -> Progress:
    """The progress object that a caller asked for."""
    if isinstance(wanted, bool):
        return TqdmProgress() if wanted else SilentProgress()
    return wanted
