"""Tasks whose examples are in memory: lists of dicts, pandas data frames, or `datasets.Dataset`s."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

from lori_cl.errors import DataError
from lori_cl.spec.error_messages import as_spec_error
from lori_cl.spec.kinds import TASK_SPECS
from lori_cl.spec.task import TaskSpec

Rows = Iterable[Mapping[str, Any]] | Any
"""A list of dicts, a `pandas.DataFrame`, or a `datasets.Dataset`."""


@dataclass(frozen=True)
class InMemoryTask:
    """A task declaration, and its rows as JSON lines."""

    kind: ClassVar[str]

    name: str
    train: bytes
    eval: bytes | None
    """None if the eval set is a fraction of `train`."""
    fraction: float | None
    """The fraction of `train` to hold out as the eval set."""
    fields: Mapping[str, Any]
    """The other fields of the declaration."""

    def __init__(self, name: str, *, train: Rows, eval: Rows | float, **fields: Any) -> None:
        fraction = eval if isinstance(eval, float) else None
        splits = {"train": train} if fraction is not None else {"train": train, "eval": eval}
        rows = {split: records(given, f"{name}, {split}") for split, given in splits.items()}
        content = {split: json_lines(found, f"{name}, {split}") for split, found in rows.items()}
        declared = self.declaration(rows["train"], rows.get("eval", ()), fields)
        values = {"name": name, "eval": None, **content, "fraction": fraction, "fields": declared}
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self.spec("train", "test")

    def declaration(
        self, train: Sequence[Mapping[str, Any]], eval: Sequence[Mapping[str, Any]], fields: dict[str, Any]
    ) -> dict[str, Any]:
        """The declaration's fields, from the arguments and the rows."""
        return fields

    def spec(self, train_split: str, eval_split: str = "test") -> TaskSpec:
        """The declaration, whose source is a folder with the splits; with a fraction, there is only `train`.

        Raises: SpecError: a field is unknown, or its value is invalid.
        """
        model = TASK_SPECS[self.kind]
        held_out = {"split": eval_split} if self.fraction is None else {"fraction": self.fraction}
        splits = {"train": {"split": train_split}, "eval": held_out}
        named = {"name": self.name, "kind": self.kind, "source": {"local": "."}, **splits}
        with as_spec_error(f"{type(self).__name__} '{self.name}'", model, "task"):
            return model.model_validate({**self.fields, **named})


class Classification(InMemoryTask):
    """One label for each text.

    Args:
        name: The task's name: lower-case letters, digits, '_' and '-'.
        train, eval: The examples: a list of dicts, a `pandas.DataFrame`, or a `datasets.Dataset`. `eval` may
            be a fraction of `train` to hold out, such as 0.1.
        text: The column with the text, or a Jinja template over several columns.
        label: The column with the label.
        labels: The label set in order; by default the sorted texts in the label column. Labels that are
            numbers need a mapping, such as `{1: "one star", 2: "two stars"}`.
        fields: Other fields of a classification task: docs/tasks.md.

    Raises: SpecError: a field is invalid. DataError: a row is invalid.

    Example:
        >>> import lori_cl as cl
        >>> rows = [{"body": "My parcel?", "queue": "shipping"}, {"body": "Refund", "queue": "billing"}]
        >>> cl.Classification("tickets", train=rows, eval=rows, text="body", label="queue").fields["labels"]
        ['billing', 'shipping']
    """

    kind = "classification"

    def __init__(
        self,
        name: str,
        *,
        train: Rows,
        eval: Rows | float,
        text: str = "text",
        label: str = "label",
        labels: Any = None,
        **fields: Any,
    ) -> None:
        columns = {"text": text, "label": label}
        super().__init__(name, train=train, eval=eval, columns=columns, labels=labels, **fields)

    def declaration(
        self, train: Sequence[Mapping[str, Any]], eval: Sequence[Mapping[str, Any]], fields: dict[str, Any]
    ) -> dict[str, Any]:
        """The fields, with the label set of the rows where none is given."""
        if fields["labels"] is not None:
            return fields
        column = fields["columns"]["label"]
        values = {row.get(column) for row in (*train, *eval)}
        if not all(isinstance(value, str) for value in values):
            found = next(value for value in values if not isinstance(value, str))
            raise DataError(
                f"column '{column}' holds {found!r}, which is no text; pass labels, for instance "
                "labels=['negative', 'positive'], or labels={0: 'negative', 1: 'positive'}"
            )
        return {**fields, "labels": sorted(values)}


class MultipleChoice(InMemoryTask):
    """Choose one of a few texts that may follow a prompt.

    Args:
        name, train, eval: As in `Classification`.
        fields: The fields of a multiple-choice task: `prompt`, `choices`, `answer` and others, docs/tasks.md.

    Raises: SpecError: a field is invalid. DataError: a row is invalid.

    Example:
        >>> import lori_cl as cl
        >>> rows = [{"q": "2 + 2 =", "options": ["3", "4"], "right": 1}]
        >>> task = cl.MultipleChoice("sums", train=rows, eval=rows, prompt="{{ q }}", choices="options",
        ...                          answer="{{ right }}")
        >>> task.kind
        'multiple_choice'
    """

    kind = "multiple_choice"


class Generation(InMemoryTask):
    """Generate a text after a prompt.

    Args:
        name, train, eval: As in `Classification`.
        fields: The fields of a generation task: `prompt`, `answer`, `metric` and others, docs/tasks.md.

    Raises: SpecError: a field is invalid. DataError: a row is invalid.

    Example:
        >>> import lori_cl as cl
        >>> rows = [{"en": "red", "de": "rot"}]
        >>> cl.Generation("colours", train=rows, eval=rows, prompt="{{ en }}:", answer=" {{ de }}").kind
        'generation'
    """

    kind = "generation"


class Code(InMemoryTask):
    """Complete a Python program that tests then judge; the programs run contained.

    Args:
        name, train, eval: As in `Classification`.
        fields: The fields of a code task: `prompt`, `answer`, `program` and others, docs/tasks.md.

    Raises: SpecError: a field is invalid. DataError: a row is invalid.

    Example:
        >>> import lori_cl as cl
        >>> rows = [{"prompt": "def one():", "body": " return 1", "test": "assert one() == 1"}]
        >>> task = cl.Code("ones", train=rows, eval=rows, prompt="{{ prompt }}", answer="{{ body }}",
        ...                program="{{ prompt }}{{ completion }}\\n{{ test }}")
        >>> task.kind
        'code'
    """

    kind = "code"


class Safety(InMemoryTask):
    """Refuse some requests, and answer the others.

    Args:
        name, train, eval: As in `Classification`.
        fields: The fields of a safety task: `prompt`, `answer`, `expect` and others, docs/tasks.md.

    Raises: SpecError: a field is invalid. DataError: a row is invalid.

    Example:
        >>> import lori_cl as cl
        >>> rows = [{"ask": "hi", "say": " hello", "want": "answer"}]
        >>> task = cl.Safety("polite", train=rows, eval=rows, prompt="{{ ask }}", answer="{{ say }}",
        ...                  expect="{{ want }}")
        >>> task.kind
        'safety'
    """

    kind = "safety"


def records(rows: Rows, where: str) -> list[dict[str, Any]]:
    """The rows as dicts.

    Raises: DataError: there is no row, or one is no mapping.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a pandas.DataFrame
        rows = rows.to_dict("records")
    found = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"{where}, row {number}: expected a dict, found {type(row).__name__}")
        found.append(dict(row))
    if not found:
        raise DataError(f"{where}: there are no examples")
    return found


def json_lines(rows: Sequence[Mapping[str, Any]], where: str) -> bytes:
    """The rows as JSON lines; equal rows give equal bytes.

    Raises: DataError: a value is not text, a number, a truth value, a date, a list or a dict.
    """
    lines = []
    for number, row in enumerate(rows, start=1):
        plain = {str(k): json_value(v, f"{where}, row {number}, column '{k}'") for k, v in row.items()}
        lines.append(json.dumps(plain, ensure_ascii=False) + "\n")
    try:
        return "".join(lines).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {error.object[error.start : error.end]!r} is no valid text") from None


def json_value(value: Any, where: str) -> Any:
    """Return a JSON value; numpy scalars and arrays become numbers and lists, and NaN becomes null."""
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, datetime | date):  # also a pandas.Timestamp
        return None if value != value else value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): json_value(each, where) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each, where) for each in value]
    raise DataError(f"{where}: cannot store a {type(value).__name__}; give text, numbers, lists or dicts")
