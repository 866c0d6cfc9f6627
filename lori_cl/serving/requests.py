"""Requests for predictions: rows of columns or plain texts, each with a named, given or predicted task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lori_cl.errors import DataError, UnknownTask
from lori_cl.evaluation import LoadedRun
from lori_cl.reports.phrases import listed
from lori_cl.routing import Router
from lori_cl.serving.route import predict_tasks
from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.tasks import Example, check_encodable, kind_of

JSON_BEGINS = ("{", "[", '"')
"""A line that begins with one of these must be valid JSON; it is never a plain text."""


@dataclass(frozen=True)
class Request:
    """One row to predict an answer for."""

    row: Mapping[str, Any]
    """Its columns."""
    task: str
    """The label of the task whose adapter answers."""
    where: str
    """Its name in error messages, such as 'line 2'."""
    number: int = 0
    """Number of its line, from 0; seeds sampled answers, as the id of an eval example does."""


def read_rows(
    loaded: LoadedRun, lines: Sequence[str], task: str | None, *, plain: bool = False
) -> list[Request]:
    """Parse lines: JSON objects of columns, which may name their `task`, or plain texts.

    Raises: DataError, naming the first line that is invalid or has no task; UnknownTask.
    """
    return [_read(loaded, line, task, plain) for line in _nonempty_lines(lines, plain)]


def read_routed_rows(
    loaded: LoadedRun, router: Router, lines: Sequence[str], *, plain: bool = False
) -> list[Request]:
    """Parse lines as `read_rows` does, and predict the task of each line that names none.

    Only tasks that can read the line are candidates. The router sees the line as the first of them reads it.
    """
    parsed = _nonempty_lines(lines, plain)
    predicted = _predicted_tasks(loaded, router, [s for s in parsed if _task_column(s, plain) is None], plain)
    return [_read(loaded, line, predicted.get(line.number), plain) for line in parsed]


def _predicted_tasks(
    loaded: LoadedRun, router: Router, lines: Sequence[_Line], plain: bool
) -> dict[int, str]:
    """Return the predicted task of each line, by line number.

    Raises: DataError, naming the first line that no task can read.
    """
    readings = [_readings(loaded, router.tasks, line, plain) for line in lines]
    return dict(zip((line.number for line in lines), route_readings(loaded, router, readings), strict=True))


def route_readings(loaded: LoadedRun, router: Router, readings: Sequence[Mapping[str, Example]]) -> list[str]:
    """Return the predicted task of each input, given as an example of each task that can read it."""
    grouped: dict[tuple[str, ...], list[int]] = {}
    for number, of_input in enumerate(readings):
        grouped.setdefault(tuple(of_input), []).append(number)
    found: dict[int, str] = {}
    for tasks, numbers in grouped.items():
        eval_task = loaded.eval_tasks[loaded.position(tasks[0])]
        examples = [readings[number][tasks[0]] for number in numbers]
        predicted = predict_tasks(loaded, router.restricted_to(tasks), eval_task, examples)
        found |= zip(numbers, predicted, strict=True)
    return [found[number] for number in range(len(readings))]


def _readings(loaded: LoadedRun, tasks: Sequence[str], line: _Line, plain: bool) -> dict[str, Example]:
    """Return the line as an example of each task that can read it."""
    found, failures = {}, []
    for task in tasks:
        spec = loaded.eval_tasks[loaded.position(task)].spec
        try:
            found[task] = read_example(spec, _read(loaded, line, task, plain))
        except DataError as error:
            failures.append(error)
    if not found:
        others = f"; {listed(tasks[1:])} cannot read it either" if tasks[1:] else ""
        raise DataError(f"{failures[0]}{others}")
    return found


class _Line(NamedTuple):
    """One line of a file, or one text of the command line."""

    number: int
    """From 0."""
    where: str
    """Its name in error messages."""
    text: str


def _nonempty_lines(lines: Sequence[str], plain: bool) -> list[_Line]:
    """Return the lines that are not empty.

    Raises: DataError, if all lines are empty, or a text of the command line is.
    """
    kind = "text" if plain else "line"
    nonempty = [_Line(i, f"{kind} {i + 1}", line) for i, line in enumerate(lines) if line.strip()]
    if not nonempty:
        raise DataError(f"nothing to predict: every {kind} is empty")
    if plain and len(nonempty) < len(lines):
        raise DataError(f"text {next(i for i, line in enumerate(lines) if not line.strip()) + 1} is empty")
    return nonempty


def _read(loaded: LoadedRun, line: _Line, task: str | None, plain: bool) -> Request:
    row = _columns(line, plain)
    own = (row or {}).get("task")
    named = task if own is None else own
    if not isinstance(named, str):
        raise DataError(f"{line.where} names no task; give --task or --route, or a column 'task'")
    try:
        label = loaded.history[loaded.position(named)].task
    except UnknownTask as error:
        raise UnknownTask(f"{line.where}: {error}" if own is not None else str(error)) from None
    return Request(_row_of(loaded, line, label) if row is None else row, label, line.where, line.number)


def _columns(line: _Line, plain: bool) -> dict[str, Any] | None:
    """Return the line's columns, or None for a plain text."""
    return _object(line) if not plain and line.text.lstrip().startswith(JSON_BEGINS) else None


def _task_column(line: _Line, plain: bool) -> Any:
    """Return the task that the line names, or None."""
    return (_columns(line, plain) or {}).get("task")


def _object(line: _Line) -> dict[str, Any]:
    """Return the columns of a line that begins like JSON.

    Raises: DataError, if it is not a JSON object: an invalid row is not treated as plain text.
    """
    remedy = "give an object of columns, also for a text that begins like JSON"
    try:
        value = parse_json(line.text)
    except InvalidJSON as error:
        at = f" at column {error.column}" if error.column else ""
        raise DataError(f"{line.where} begins like JSON but is invalid: {error}{at}; {remedy}") from None
    if not isinstance(value, dict):
        found = "array" if isinstance(value, list) else "string"
        raise DataError(f"{line.where} is a JSON {found}; {remedy}")
    return value


def _row_of(loaded: LoadedRun, line: _Line, label: str) -> dict[str, str]:
    spec = loaded.eval_tasks[loaded.position(label)].spec
    column = kind_of(spec).text_column(spec)
    if column is None:
        raise DataError(
            f"{line.where}: task '{label}' reads several columns; give a JSON object with them"
            f"{example_row(spec)}"
        )
    return {column: line.text}


def example_row(spec: Any) -> str:
    """Return ', such as {"body": "<body>"}', or nothing if the task's columns are not known."""
    row = kind_of(spec).input_row(spec)
    return f", such as {json.dumps(row, ensure_ascii=False)}" if row else ""


def read_example(spec: Any, request: Request) -> Example:
    """Return the row as an example of its task.

    Raises: DataError, if a column that the task reads is missing or invalid.
    """
    try:
        example = kind_of(spec).input_example(spec, request.row, request.where)
    except DataError as error:
        if kind_of(spec).input_row(spec).keys() <= request.row.keys():
            raise
        raise DataError(f"{error} Give all columns of the task{example_row(spec)}") from None
    check_encodable(example, request.where)
    return replace(example, id=request.number)
