"""Read the label of a row: the label itself, a key of `label_values`, or a position.

An integer is a position, counted from 0, only if no other meaning is possible:

- the hub declares the column as a ClassLabel with as many names as the task has labels, or
- the task's splits contain both 0 and the last position, and no number outside this range.

Otherwise the task must define the numbers: `labels: {1: one star, 2: two stars}`.

A text that is no label itself is read as the only label that equals it without case and surrounding spaces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from lori_cl.errors import DataError, suggestion
from lori_cl.spec import ClassificationSpec
from lori_cl.spec.error_messages import shown
from lori_cl.spec.kinds import value_key
from lori_cl.tasks.rows import Row, Rows

SHOWN_VALUES = 12
"""Maximum number of column values that an error lists."""


def label_of(task: ClassificationSpec, rows: Rows, row: Row, where: str) -> str:
    """Return the label of one of these rows; `where` is its place.

    Raises: DataError, if the label is unknown.
    """
    return _label(task, rows, row[task.columns.label], where)


def check_positions(task: ClassificationSpec, splits: Sequence[Rows]) -> None:
    """Make sure that integers in these splits can only be positions that count from 0.

    Raises: DataError, with the numbers found and the mapping to write.
    """
    if task.columns.label_values is not None or any(_declared_by_hub(task, rows) for rows in splits):
        return
    values = [value for rows in splits for value in label_column(task, rows)]
    positions = {int(value) for value in values if _is_position(task, value)}
    if positions and not positions >= {0, len(task.labels) - 1}:
        raise DataError(f"{splits[0].origin}: {_advice(task, values)}")


def _label(task: ClassificationSpec, rows: Rows, value: Any, where: str) -> str:
    if value is None or isinstance(
        value, list | dict | bytes
    ):  # otherwise null would become the label 'None'
        raise DataError(f"{where}: label {shown(value)} is not in the label set; labels must be text")
    if task.columns.label_values is not None:
        return _mapped(task.columns.label_values, value, where)
    if _is_position(task, value) and int(value) < len(task.labels):
        return task.labels[int(value)]
    found = _matching(str(value), value, task.labels, where)
    if found is not None:
        return found
    advice = (
        ""
        if as_number(value) is None or _named_by_numbers(task)
        else f" {_advice(task, label_column(task, rows))}"
    )
    near = suggestion(str(value), task.labels) or f" Available: {', '.join(task.labels)}."
    raise DataError(f"{where}: label {shown(str(value))} is not in the label set.{near}{advice}")


def _mapped(values: dict[str, str], value: Any, where: str) -> str:
    found = _matching(value_key(value), value, values, where)
    if found is not None:
        return values[found]
    raise DataError(
        f"{where}: label {shown(str(value))} is not a key of the labels mapping: "
        f"{', '.join(list(values)[:SHOWN_VALUES])}; add it there, or remove the row"
    )


def _matching(exact: str, value: Any, options: Collection[str], where: str) -> str | None:
    """Return the option that a value means: an equal one, otherwise the only one without case and spaces.

    Raises: DataError, if several options are equal without case.
    """
    for text in (exact, value_key(value)):
        if text in options:
            return text
    near = [option for option in options if folded(option) == folded(value_key(value))]
    if len(near) > 1:
        raise DataError(
            f"{where}: label {shown(str(value))} is ambiguous: without case it is "
            f"{' and '.join(map(shown, near))}; write one of them"
        )
    return near[0] if near else None


def folded(text: str) -> str:
    """Return a text without case and surrounding spaces."""
    return text.strip().casefold()


def inexact_labels(task: ClassificationSpec, splits: Sequence[Rows]) -> str | None:
    """Return a line with the number of labels that match only without case and spaces; None if none do."""
    options: Collection[str] = task.columns.label_values or task.labels
    by_fold = {folded(option): option for option in options}
    texts = [value for rows in splits for value in label_column(task, rows) if isinstance(value, str)]
    inexact = [text for text in texts if text not in options and folded(text) in by_fold]
    if not inexact:
        return None
    verb = "label is" if len(inexact) == 1 else "labels are"
    return (
        f"task '{task.name}': {len(inexact):,} {verb} matched without case and surrounding spaces, such as "
        f"{shown(inexact[0])} as {shown(by_fold[folded(inexact[0])])}"
    )


def _advice(task: ClassificationSpec, values: Iterable[Any]) -> str:
    """Return advice: the numbers in the column, and the mapping to write."""
    numbers = sorted({n for value in values if (n := as_number(value)) is not None})
    listed = ", ".join(f"{n:g}" for n in numbers[:SHOWN_VALUES]) + (
        ", …" if len(numbers) > SHOWN_VALUES else ""
    )
    first = int(numbers[0]) if numbers and numbers[0] in (0, 1) else 0
    example = ", ".join(f"{first + i}: {label}" for i, label in enumerate(task.labels[:3]))
    more = ", …" if len(task.labels) > 3 else ""
    last = len(task.labels) - 1
    return (
        f"column '{task.columns.label}' contains the numbers {listed} for {len(task.labels)} labels. Numbers "
        f"are label positions only if both 0 and {last} occur and nothing outside. Define each number: "
        f"labels: {{{example}{more}}}"
    )


def label_column(task: ClassificationSpec, rows: Rows) -> Iterable[Any]:
    """Return the values of the label column."""
    name = task.columns.label
    values: Sequence[Any] = (
        [row[name] for row in rows.rows] if isinstance(rows.rows, list) else rows.rows[name]
    )
    return values


def _declared_by_hub(task: ClassificationSpec, rows: Rows) -> bool:
    """Whether the column is a ClassLabel of `datasets`, whose numbers are positions from 0."""
    feature = (getattr(rows.rows, "features", None) or {}).get(task.columns.label)
    return getattr(feature, "num_classes", None) == len(task.labels)


def _named_by_numbers(task: ClassificationSpec) -> bool:
    return any(map(str.isdecimal, task.labels))


def _is_position(task: ClassificationSpec, value: Any) -> bool:
    """Whether a value is written as 0, 1, 2, … and no label of the task is itself a number."""
    digits = "" if isinstance(value, bool) else str(value)
    canonical = digits.isascii() and digits.isdecimal() and len(digits) < 10 and str(int(digits)) == digits
    return canonical and not _named_by_numbers(task)


def as_number(value: Any) -> float | None:
    """Convert a label such as 1, 1.0, '1', '01' or true to a number; None if it is not one."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e9 else None
