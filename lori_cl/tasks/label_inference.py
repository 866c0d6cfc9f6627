"""Infer the label set of a classification task from its label column, if the task declares none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lori_cl.errors import DataError
from lori_cl.spec import ClassificationSpec
from lori_cl.spec.error_messages import shown
from lori_cl.spec.kinds import value_key
from lori_cl.tasks.kinds.labels import as_number, folded, label_column
from lori_cl.tasks.rows import Rows, require_column

MAX_LABELS = 100
"""Maximum number of labels that are inferred; a task may declare more."""
MAX_NUMBER = 1_000
"""Larger numbers are measurements rather than labels."""
MAX_CHARACTERS = 200
"""Longer texts are not labels."""
SHOWN_LABELS = 12


class InferredLabels(NamedTuple):
    """The label set of a column, in order, and how often each label occurs."""

    labels: tuple[str, ...]
    counts: Counter[str]

    def words(self, column: str) -> str:
        """Return a summary: "2 labels inferred from column 'label': no (70), yes (30)"."""
        first = ", ".join(f"{label} ({self.counts[label]:,})" for label in self.labels[:SHOWN_LABELS])
        more = ", …" if len(self.labels) > SHOWN_LABELS else ""
        named = "; give the numbers names: `labels: {…}`" if all(map(_is_whole, self.labels)) else ""
        return f"{len(self.labels)} labels inferred from column '{column}': {first}{more}{named}"


def infer_labels(task: ClassificationSpec, splits: Sequence[Rows]) -> InferredLabels:
    """Infer the labels from every split: texts in alphabetical order, or whole numbers in numerical order.

    A ClassLabel column of the hub names its labels itself.
    Raises: DataError, with examples, if the values of the column cannot be a label set.
    """
    column = task.columns.label
    for rows in splits:
        require_column(rows, column, "columns.label")
    counts = Counter(value for rows in splits for value in _values(task, rows))
    names = next(filter(None, (_names_of_hub(rows, column) for rows in splits)), ())
    if names:
        return InferredLabels(names, Counter({name: counts[str(i)] for i, name in enumerate(names)}))
    problem = _problem(counts)
    if problem is not None:
        raise DataError(
            f"{splits[0].origin}: labels is missing from task '{task.name}' and cannot be inferred: "
            f"column '{column}' contains {problem}; list the labels: `labels: [first, second]`"
        )
    order = int if all(map(_is_whole, counts)) else str
    return InferredLabels(tuple(sorted(counts, key=order)), counts)


def _values(task: ClassificationSpec, rows: Rows) -> Iterator[str]:
    """Yield the value of every row as text; a row without a usable value is refused later, with its place."""
    for value in label_column(task, rows):
        missing = value is None or value != value or isinstance(value, list | dict | bytes)
        if not missing and value_key(value):
            yield value_key(value)


def _problem(counts: Counter[str]) -> str | None:
    """Return why these values are not a label set; None if they are."""
    examples = ", ".join(shown(value) for value in list(counts)[:3])
    number = next((value for value in counts if not _may_be_label(value)), None)
    spellings: dict[str, str] = {}
    for value in counts:
        other = spellings.setdefault(_spelling(value), value)
        if other != value:
            return f"{shown(other)} and {shown(value)}, which differ only in spelling"
    if number is not None:
        return f"the number {number}, but only whole numbers up to {MAX_NUMBER:,} can be labels"
    longest = max(counts, key=len, default="")
    if len(longest) > MAX_CHARACTERS:
        return f"a text of {len(longest):,} characters ({shown(longest)})"
    if len(counts) > MAX_LABELS:
        return f"{len(counts):,} distinct values, more than {MAX_LABELS} ({examples}, …)"
    if len(counts) < 2:
        return f"only the value {examples}" if counts else "no value"
    return None


def _may_be_label(value: str) -> bool:
    number = as_number(value)
    if number is None:
        return not _is_whole(value)  # as_number is None for a number of more than nine digits, too
    return number.is_integer() and abs(number) <= MAX_NUMBER


def _spelling(value: str) -> str:
    """Return a key that is equal for 'Yes' and 'yes', and for '1' and '1.0'."""
    number = as_number(value)
    return folded(value) if number is None else str(number)


def _is_whole(value: str) -> bool:
    return value.removeprefix("-").isascii() and value.removeprefix("-").isdecimal()


def _names_of_hub(rows: Rows, column: str) -> tuple[str, ...]:
    feature = (getattr(rows.rows, "features", None) or {}).get(column)
    return tuple(name.strip() for name in getattr(feature, "names", None) or ())
