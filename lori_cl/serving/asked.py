"""What is asked: rows of columns or bare texts, each for a task that it names, that was given, or guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lori_cl.errors import DataError, UnknownTask
from lori_cl.reports.wording import listed
from lori_cl.routing import Router
from lori_cl.serving.route import guess
from lori_cl.strict_json import NoJSON, decoded
from lori_cl.tasks import Example, check_whole_characters, kind_of
from lori_cl.training import LoadedRun

JSON_BEGINS = ("{", "[", '"')
"""A line that begins with one of them is JSON, or broken, and no text to be answered."""


@dataclass(frozen=True)
class Asked:
    """One row to be answered."""

    row: Mapping[str, Any]
    """Its columns."""
    task: str
    """The label of the task whose cells answer."""
    where: str
    """What an error calls it."""
    number: int = 0
    """Of its line, from 0: what a sampled answer is seeded with, as with an eval example's id."""


def read_rows(
    loaded: LoadedRun, lines: Sequence[str], task: str | None, *, plain: bool = False
) -> list[Asked]:
    """What stands in the lines: objects of columns, which may name their `task`, or bare texts.

    Raises: DataError, naming the first line that is neither, or lacks a task; UnknownTask.
    """
    return [_read(loaded, line, task, plain) for line in _told(lines, plain)]


def routed(loaded: LoadedRun, router: Router, lines: Sequence[str], *, plain: bool = False) -> list[Asked]:
    """As `read_rows`, but each line that names no task is for the one that its text looks like, of those that
    can read it.

    To guess, such a line is read as the first of them reads it, since nobody has said which task it is.
    """
    told = _told(lines, plain)
    guessed = _guessed(loaded, router, [line for line in told if _named(line, plain) is None], plain)
    return [_read(loaded, line, guessed.get(line.number), plain) for line in told]


def _guessed(loaded: LoadedRun, router: Router, lines: Sequence[_Line], plain: bool) -> dict[int, str]:
    """By its number, the task of each line.

    Raises: DataError, naming the first line that no task can read.
    """
    together: dict[tuple[str, ...], dict[int, Example]] = {}
    for line in lines:
        readings = _readings(loaded, router.tasks, line, plain)
        together.setdefault(tuple(readings), {})[line.number] = next(iter(readings.values()))
    found: dict[int, str] = {}
    for tasks, examples in together.items():
        question = loaded.questions[loaded.position(tasks[0])]
        guesses = guess(loaded, router.among(tasks), question, list(examples.values()))
        found |= zip(examples, guesses, strict=True)
    return found


def _readings(loaded: LoadedRun, tasks: Sequence[str], line: _Line, plain: bool) -> dict[str, Example]:
    """What each task that can read the line makes of it."""
    found, failures = {}, []
    for task in tasks:
        spec = loaded.questions[loaded.position(task)].spec
        try:
            found[task] = example_of(spec, _read(loaded, line, task, plain))
        except DataError as error:
            failures.append(error)
    if not found:
        others = f"; nor can {listed(tasks[1:])} read it" if tasks[1:] else ""
        raise DataError(f"{failures[0]}{others}")
    return found


class _Line(NamedTuple):
    """One line, or one text."""

    number: int
    """From 0."""
    where: str
    """What an error calls it."""
    text: str


def _told(lines: Sequence[str], plain: bool) -> list[_Line]:
    """Those that are not empty.

    Raises: DataError, if nothing is left.
    """
    kind = "text" if plain else "line"
    told = [_Line(i, f"{kind} {i + 1}", line) for i, line in enumerate(lines) if line.strip()]
    if not told:
        raise DataError(f"there is nothing to answer: every {kind} is empty")
    if plain and len(told) < len(lines):
        raise DataError(f"text {next(i for i, line in enumerate(lines) if not line.strip()) + 1} is empty")
    return told


def _read(loaded: LoadedRun, line: _Line, task: str | None, plain: bool) -> Asked:
    row = _columns(line, plain)
    own = (row or {}).get("task")
    named = task if own is None else own
    if not isinstance(named, str):
        raise DataError(
            f"{line.where} names no task; give --task or --route, or a column 'task' with its name"
        )
    try:
        label = loaded.history[loaded.position(named)].learned.task
    except UnknownTask as error:
        raise UnknownTask(f"{line.where}: {error}" if own is not None else str(error)) from None
    return Asked(_row_of(loaded, line, label) if row is None else row, label, line.where, line.number)


def _columns(line: _Line, plain: bool) -> dict[str, Any] | None:
    """The line's columns; None where it is a bare text."""
    return _object(line) if not plain and line.text.lstrip().startswith(JSON_BEGINS) else None


def _named(line: _Line, plain: bool) -> Any:
    """The task that the line names itself; None where it names none."""
    return (_columns(line, plain) or {}).get("task")


def _object(line: _Line) -> dict[str, Any]:
    """The line's columns.

    Raises: DataError, if it is no JSON object, though it begins as JSON does: a broken row is no text to be
    answered.
    """
    remedy = "give an object of columns; a text that begins so stands in one, too"
    try:
        value = decoded(line.text)
    except NoJSON as error:
        at = f" at column {error.column}" if error.column else ""
        raise DataError(f"{line.where} begins as JSON does and is none: {error}{at}; {remedy}") from None
    if not isinstance(value, dict):
        found = "array" if isinstance(value, list) else "string"
        raise DataError(f"{line.where} is a JSON {found}; {remedy}")
    return value


def _row_of(loaded: LoadedRun, line: _Line, label: str) -> dict[str, str]:
    spec = loaded.questions[loaded.position(label)].spec
    column = kind_of(spec).text_column(spec)
    if column is None:
        raise DataError(
            f"{line.where}: task '{label}' reads several columns; give it a JSON object with them"
        )
    return {column: line.text}


def example_of(spec: Any, asked: Asked) -> Example:
    """The row as its task reads it.

    Raises: DataError, if it lacks what the task reads.
    """
    example = replace(kind_of(spec).asked(spec, asked.row, asked.where), id=asked.number)
    check_whole_characters(example, asked.where)
    return example
