"""How results are printed: tables for people, JSON for programs; bars only where somebody watches."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from lori_cl.training.observer import Advance  # torch comes with the room

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def console() -> Console:
    """Where results go; as wide as the terminal, or 120 columns in a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    click.echo(_told(json.dumps(value, indent=2, ensure_ascii=False)))


def print_line(value: Any) -> None:
    """One JSON value on a line of stdout."""
    click.echo(_told(json.dumps(value, ensure_ascii=False)))


def _told(text: str) -> str:
    """JSON that can be written: half a character (a surrogate) is an escape like \\ud800, there as here."""
    return text.encode(errors="backslashreplace").decode()


class Bars:
    """Draws every bar that is under way on stderr; silent where stderr is no terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Draw a bar until the context ends."""
        task = self._progress.add_task(title, total=total)
        try:
            yield lambda units: self._progress.advance(task, units)
        finally:
            self._progress.remove_task(task)


@contextmanager
def bars() -> Iterator[Bars]:
    """The bars of one command."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    watched = Console(stderr=True)
    with Progress(*columns, console=watched, transient=True, disable=not watched.is_terminal) as progress:
        yield Bars(progress)
