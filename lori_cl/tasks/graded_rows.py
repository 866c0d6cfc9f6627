"""Freeze the columns of a row in its example, for metrics that read them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec.in_memory import json_value
from lori_cl.tasks.examples import Example, check_encodable
from lori_cl.tasks.rows import Row, Rows
from lori_cl.tasks.scorers import SCORERS


def with_graded_rows(task: Any, examples: Sequence[Example], rows: Rows) -> list[Example]:
    """Return the examples with the columns that the task's metric reads.

    A value that JSON cannot hold, such as an image, is left out.
    Raises: DataError: a text is not valid.
    """
    columns = SCORERS[task.metric].row_columns(task)
    if columns is not None and not columns:
        return list(examples)
    by_id = {example.id: example for example in examples}
    graded = {i: replace(by_id[i], row=_row_json(row, columns)) for i, row in rows if i in by_id}
    for i, example in graded.items():
        check_encodable(example, rows.where(i))
    return [graded[example.id] for example in examples]


def _row_json(row: Row, columns: Collection[str] | None) -> str:
    kept: dict[str, Any] = {}
    for name, value in row.items():
        if columns is None or name in columns:
            try:
                kept[name] = json_value(value, name)
            except DataError:
                continue
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)
