"""How results are printed: tables for people, JSON for programs; bars only where somebody watches."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lori_cl.cli.signals import asked_to_end
from lori_cl.errors import Interrupted

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

    def __init__(self, progress: Progress, ends: Callable[[], bool]) -> None:
        self._progress = progress
        self._ends = ends

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Draw a bar until the context ends; its advance raises Interrupted where the user asked to end, and
        something is left to do."""
        outermost = not self._progress.tasks
        task = self._progress.add_task(title, total=total)

        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            self._progress.advance(task, units)
            if self._ends() and not (outermost and done >= total):
                raise Interrupted(
                    f"ended as asked, in '{title}' after {done:,} of {total:,}; what was committed stays. "
                    f"Go on with: {shlex.join(['lori-cl', *sys.argv[1:]])}"
                )

        try:
            yield advance
        finally:
            self._progress.remove_task(task)


@contextmanager
def bars() -> Iterator[Bars]:
    """The bars of one command, which ends after a step where a signal asks for it."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    watched = Console(stderr=True)
    drawn = Progress(*columns, console=watched, transient=True, disable=not watched.is_terminal)
    with asked_to_end() as ends, drawn as progress:
        yield Bars(progress, ends)
