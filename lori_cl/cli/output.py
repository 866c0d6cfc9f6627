"""Printing: tables for people, JSON for programs, and progress bars on a terminal.

Commands print through this module only. It escapes terminal control characters; `streams` then replaces
characters that the terminal's encoding lacks.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lori_cl.cli.signals import handle_stop_signals
from lori_cl.cli.streams import is_unicode, shows, write_bytes
from lori_cl.errors import Interrupted, one_line
from lori_cl.strict_json import dump_json, escape_json

if TYPE_CHECKING:
    from lori_cl.runtime.progress import Advance  # imports torch

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def console() -> Console:
    """Return the console for results: as wide as the terminal, or 120 columns in a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)


def print_line(line: str, *, err: bool = False) -> None:
    """Print one line; line breaks and control characters in names and paths are escaped."""
    click.echo(one_line(line), err=err)


def confirm(question: str) -> bool:
    """Ask a question on stderr; only `y` or `yes` on stdin is a yes."""
    click.echo(f"{one_line(question)} [y/N] ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def print_written(file: Path, size: int) -> None:
    """Print a written file's name and size on stderr."""
    print_line(f"Wrote {file} ({size:,} bytes)", err=True)


def print_json(value: Any) -> None:
    """Print one JSON value, indented."""
    click.echo(dump_json(value, indent=2, is_displayable=_stdout_shows))


def print_json_line(value: Any) -> None:
    """Print one JSON value on one line."""
    click.echo(dump_json(value, is_displayable=_stdout_shows))


def print_document(content: bytes, format_name: str) -> None:
    """Write the content of a report file to stdout.

    HTML and SVG declare their encoding. Where stdout is not Unicode, they are written as ASCII with character
    references. The format of a plugin may be binary, so it is written as it is.
    """
    if is_unicode(sys.stdout) or format_name not in {"html", "svg", "md", "csv", "json"}:
        write_bytes(content)
    elif format_name in {"html", "svg"}:
        write_bytes(content.decode().encode("ascii", "xmlcharrefreplace"))
    else:
        text = content.decode()
        sys.stdout.write(escape_json(text, _stdout_shows) if format_name == "json" else text)


def _stdout_shows(character: str) -> bool:
    return shows(character, sys.stdout)


class Bars:
    """Progress bars on stderr; silent if stderr is not a terminal."""

    def __init__(self, progress: Progress, stop_requested: Callable[[], bool]) -> None:
        self._progress = progress
        self._stop_requested = stop_requested

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Draw a bar until the context ends.

        Its advance raises Interrupted if the user requested a stop and work is left.
        """
        outermost = not self._progress.tasks
        task = self._progress.add_task(one_line(title), total=total)

        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            self._progress.advance(task, units)
            if self._stop_requested() and not (outermost and done >= total):
                raise Interrupted(
                    f"stopped as requested in '{title}' after {done:,} of {total:,}; committed data is kept. "
                    f"Resume with: {shlex.join(['lori-cl', *sys.argv[1:]])}"
                )

        try:
            yield advance
        finally:
            self._progress.remove_task(task)


@contextmanager
def bars() -> Iterator[Bars]:
    """Yield the progress bars of one command; a stop signal ends the command after the current step."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    stderr = Console(stderr=True)
    display = Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
    with handle_stop_signals() as stop_requested, display as progress:
        yield Bars(progress, stop_requested)
