"""From a task's declaration to its examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lori_cl.errors import DataError
from lori_cl.spec import TaskSpec
from lori_cl.tasks.examples import Example, check_whole_characters
from lori_cl.tasks.kinds import kind_of
from lori_cl.tasks.rows import Rows
from lori_cl.tasks.scorers import SCORERS
from lori_cl.tasks.sources import read_split


def train_examples(task: TaskSpec, beside: Path, limit: int | None = None, seed: int = 0) -> list[Example]:
    """What the task learns from; `limit` draws so many at random by the seed and keeps their order.

    Raises: DataError, if the source is missing, empty or holds an example the task does not allow.
    """
    rows = _train_rows(task, beside)
    examples = _checked(kind_of(task).lessons(task, rows), rows)
    _check_counting(task, rows, lambda: _eval_rows(task, beside))
    return drawn(examples, limit, seed)


def eval_examples(task: TaskSpec, beside: Path) -> list[Example]:
    """What the task is scored on; its own limit draws by the task's seed.

    Raises: DataError, if the source is missing, empty or holds an example the task does not allow, or one
    that its metric cannot score.
    """
    return _eval_examples(task, _eval_rows(task, beside))


def _eval_examples(task: TaskSpec, rows: Rows) -> list[Example]:
    examples = drawn(_checked(kind_of(task).examples(task, rows), rows), task.eval.limit, task.seed)
    require_scorable(task, examples)
    return examples


def _train_rows(task: TaskSpec, beside: Path) -> Rows:
    return read_split(task.train.source or task.source, task.train.split, beside)


def _eval_rows(task: TaskSpec, beside: Path) -> Rows:
    return read_split(task.source, task.eval.split, beside)


def _check_counting(task: TaskSpec, rows: Rows, others: Callable[[], Rows]) -> None:
    """Check what a split's numbers count from; where it alone does not show it, together with the other."""
    try:
        kind_of(task).check_counting(task, [rows])
    except DataError:
        kind_of(task).check_counting(task, [rows, others()])


def require_scorable(task: Any, examples: Sequence[Example]) -> None:
    """Make sure that a score over these examples will mean something.

    Raises: DataError, saying why it will not.
    """
    why = SCORERS[task.metric].unscorable(task, examples)
    if why is not None:
        raise DataError(f"task '{task.name}': {task.metric} cannot score split '{task.eval.split}': {why}")


def both_splits(task: TaskSpec, beside: Path) -> tuple[list[Example], list[Example]]:
    """(training examples, eval examples), with no example in both unless the task allows it.

    Raises: DataError, also with the number of eval examples that stand in both.
    """
    train, rows = train_examples(task, beside), _eval_rows(task, beside)
    held_out = _eval_examples(task, rows)
    _check_counting(task, rows, lambda: _train_rows(task, beside))
    seen = {(example.text, example.choices) for example in train}
    both = [example for example in held_out if (example.text, example.choices) in seen]
    if both and not task.allow_duplicates:
        raise DataError(
            f"task '{task.name}': {len(both):,} of {len(held_out):,} eval examples stand among the training "
            f"examples, too (the first is row {both[0].id + 1} of split '{task.eval.split}'): a score over "
            "them rewards remembering. Remove them from one split, or say allow_duplicates: true"
        )
    return train, held_out


def drawn(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """So many examples at random, in their old order: the first of a sorted data set are all of one label."""
    if limit is None or limit >= len(examples):
        return list(examples)
    # Raw words of a bit generator are stable by NumPy's policy; Generator.choice is not.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(examples)), kind="stable")
    return [examples[i] for i in sorted(order[:limit])]


def _checked(examples: list[Example], rows: Rows) -> list[Example]:
    if not examples:
        raise DataError(f"{rows.origin}: no examples in it")
    for example in examples:
        check_whole_characters(example, rows.where(example.id))
    return examples
