"""How results are printed: tables for people, JSON for programs; bars only where somebody watches.

Commands print through this module only. It escapes what would control a terminal; `streams` then writes what
the terminal's encoding can show.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lori_cl.cli.signals import asked_to_end
from lori_cl.cli.streams import is_unicode, shows, write_bytes
from lori_cl.errors import Interrupted, one_line
from lori_cl.strict_json import encoded, escaped

if TYPE_CHECKING:
    from lori_cl.training.observer import Advance  # torch comes with the room

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def console() -> Console:
    """Where results go; as wide as the terminal, or 120 columns in a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def print_line(line: str, *, err: bool = False) -> None:
    """One line of text, whatever stands in a name or a path in it."""
    click.echo(one_line(line), err=err)


def print_json(value: Any) -> None:
    """One JSON value."""
    click.echo(encoded(value, indent=2, shows=_stdout_shows))


def print_json_line(value: Any) -> None:
    """One JSON value on a line."""
    click.echo(encoded(value, shows=_stdout_shows))


def print_document(content: bytes, format_name: str) -> None:
    """A report's file on stdout.

    HTML and SVG name their encoding, so they stay what they are: only ASCII, where the terminal lacks UTF-8.
    """
    if format_name == "png" or is_unicode(sys.stdout):
        write_bytes(content)
    elif format_name in {"html", "svg"}:
        write_bytes(content.decode().encode("ascii", "xmlcharrefreplace"))
    else:
        text = content.decode()
        sys.stdout.write(escaped(text, _stdout_shows) if format_name == "json" else text)


def _stdout_shows(character: str) -> bool:
    return shows(character, sys.stdout)


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
        task = self._progress.add_task(one_line(title), total=total)

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
