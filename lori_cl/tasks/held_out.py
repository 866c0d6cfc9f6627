"""Split the rows of one source into training rows and eval rows, for `eval.fraction`.

The side of a row depends only on the task's seed and the row's input, normalised as in `duplicates`. So rows
with equal inputs are on the same side, and rows that are added to the source later move no other row. Of a
conversation, the first user turn counts, because its beginning is a training prompt, too.
"""

from __future__ import annotations

import hashlib

from lori_cl.digest import canonical_json
from lori_cl.errors import DataError
from lori_cl.spec import TaskSpec
from lori_cl.tasks.duplicates import input_key, normalised
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds import kind_of
from lori_cl.tasks.rows import Rows


def split_rows(task: TaskSpec, rows: Rows) -> tuple[Rows, Rows]:
    """Return the training rows and the eval rows; invalid rows are in neither.

    Raises: DataError, if a row is invalid, or one side is empty.
    """
    examples = kind_of(task).examples(task, rows)
    held_out = {e.id for e in examples if _is_held_out(task, e)}
    train = {e.id for e in examples} - held_out
    for n, advice in ((len(held_out), "raise"), (len(train), "lower")):
        if not n and examples:
            raise DataError(
                f"{rows.origin}: eval.fraction {task.eval.fraction:g} holds out {len(held_out):,} of "
                f"{len(examples):,} rows; {advice} it, or set another seed"
            )
    return rows.only(train), rows.only(held_out)


def _is_held_out(task: TaskSpec, example: Example) -> bool:
    assert task.eval.fraction is not None, "only called for a task with eval.fraction"
    key = next((normalised(text) or text for role, text in example.turns if role == "user"), None)
    content = ["held-out", task.seed, *(input_key(example) if key is None else [key])]
    digest = hashlib.sha256(canonical_json(content).encode()).digest()
    return int.from_bytes(digest[:8]) < task.eval.fraction * 2**64
