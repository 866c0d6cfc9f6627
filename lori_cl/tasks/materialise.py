"""From a task's declaration to its examples."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lori_cl.errors import DataError
from lori_cl.forgetting.subset import drawn
from lori_cl.spec import SkippedRows, TaskSpec
from lori_cl.tasks.duplicates import duplicates, near_duplicates
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds import kind_of
from lori_cl.tasks.rows import Rows
from lori_cl.tasks.scorers import SCORERS
from lori_cl.tasks.sources import read_split

log = logging.getLogger(__name__)


def train_examples(task: TaskSpec, beside: Path, limit: int | None = None, seed: int = 0) -> list[Example]:
    """What the task learns from; `limit` draws so many at random by the seed and keeps their order.

    Raises: DataError, if the source is missing, empty or holds an example the task does not allow.
    """
    rows = _train_rows(task, beside)
    examples = _found(kind_of(task).lessons(task, rows), rows)
    _check_counting(task, rows, lambda: _eval_rows(task, beside))
    if (skipped := _skipped(task.train.split, rows)) is not None:
        log.warning("task '%s': %s", task.name, skipped.words())
    return drawn(examples, limit, seed)


def eval_examples(task: TaskSpec, beside: Path) -> list[Example]:
    """What the task is scored on; its own limit draws by the task's seed.

    Raises: DataError, if the source is missing, empty or holds an example the task does not allow, or one
    that its metric cannot score.
    """
    return _eval_examples(task, _eval_rows(task, beside))


def _eval_examples(task: TaskSpec, rows: Rows) -> list[Example]:
    found = _found(_scorable(task, kind_of(task).examples(task, rows), rows), rows)
    examples = drawn(found, task.eval.limit, task.seed)
    require_scorable(task, examples)
    return examples


def _train_rows(task: TaskSpec, beside: Path) -> Rows:
    columns = kind_of(task).columns(task, training=True)
    return read_split(task.train.source or task.source, task.train.split, beside, columns)


def _eval_rows(task: TaskSpec, beside: Path) -> Rows:
    return read_split(task.source, task.eval.split, beside, kind_of(task).columns(task))


def _check_counting(task: TaskSpec, rows: Rows, others: Callable[[], Rows]) -> None:
    """Check what a split's numbers count from; where it alone does not show it, together with the other."""
    try:
        kind_of(task).check_counting(task, [rows])
    except DataError:
        kind_of(task).check_counting(task, [rows, others()])


def _scorable(task: Any, examples: list[Example], rows: Rows) -> list[Example]:
    """The examples whose own answer is worth something, where invalid rows are skipped."""
    if not task.source.skip_invalid or task.kind != "generation":
        return examples
    kept = []
    for example in examples:
        why = SCORERS[task.metric].unscorable(task, [example])
        if why is None:
            kept.append(example)
        else:
            rows.invalid.add(DataError(f"{rows.where(example.id)}: {why}"))
    return kept


def require_scorable(task: Any, examples: Sequence[Example]) -> None:
    """Make sure that a score over these examples will mean something.

    Raises: DataError, saying why it will not.
    """
    why = SCORERS[task.metric].unscorable(task, examples)
    if why is not None:
        raise DataError(f"task '{task.name}': {task.metric} cannot score split '{task.eval.split}': {why}")


@dataclass(frozen=True)
class TaskData:
    """What a task's sources hold."""

    train: list[Example]
    held_out: list[Example]
    skipped: tuple[SkippedRows, ...]
    """Invalid rows that were left out, one entry a split that has some."""


def read_task(task: TaskSpec, beside: Path) -> TaskData:
    """Both splits, with no example in both unless the task allows it.

    Raises: DataError, also with the number of eval examples that stand in both.
    """
    train_rows = _train_rows(task, beside)
    train = _found(kind_of(task).lessons(task, train_rows), train_rows)
    eval_rows = _eval_rows(task, beside)
    held_out = _eval_examples(task, eval_rows)
    _check_counting(task, train_rows, lambda: eval_rows)
    _check_counting(task, eval_rows, lambda: train_rows)
    require_no_duplicates(task, train, held_out)
    skipped = (_skipped(task.train.split, train_rows), _skipped(task.eval.split, eval_rows))
    return TaskData(train, held_out, tuple(each for each in skipped if each is not None))


def both_splits(task: TaskSpec, beside: Path) -> tuple[list[Example], list[Example]]:
    """(training examples, eval examples), as `read_task`."""
    data = read_task(task, beside)
    return data.train, data.held_out


def require_no_duplicates(task: TaskSpec, train: Sequence[Example], held_out: Sequence[Example]) -> None:
    """Make sure that no eval example is trained on, also in other case, spacing or punctuation.

    Raises: DataError, with the number of such examples and the first, unless the task allows them.
    """
    both = [] if task.allow_duplicates else duplicates(train, held_out)
    if both:
        first = both[0]
        exact = first.held_out.text == first.train.text
        raise DataError(
            f"task '{task.name}': {len(both):,} of {len(held_out):,} eval examples stand among the training "
            f"examples, too (the first is row {first.held_out.id + 1} of split '{task.eval.split}'), "
            f"here as row {first.train.id + 1} of split '{task.train.split}'"
            f"{'' if exact else ' but for case, spaces or punctuation'}: a score over "
            "them rewards remembering. Remove them from one split, or say allow_duplicates: true"
        )


def near_duplicates_line(task: TaskSpec, train: Sequence[Example], held_out: Sequence[Example]) -> str | None:
    """How many eval examples are nearly training examples; None where none is."""
    near = near_duplicates(train, held_out)
    if near.first is None:
        return None
    part = "" if near.compared == len(train) else f" (of {len(train):,}, {near.compared:,} were compared)"
    return (
        f"task '{task.name}': {near.n:,} of {len(held_out):,} eval examples ({near.n / len(held_out):.1%}) "
        f"are nearly a training example{part}; the first is row {near.first.held_out.id + 1} of split "
        f"'{task.eval.split}', near row {near.first.train.id + 1} of split '{task.train.split}'"
    )


def _skipped(split: str, rows: Rows) -> SkippedRows | None:
    found = rows.invalid.skipped(str(Path(rows.origin).parent) + os.sep)
    return SkippedRows(split=split, n=found.n, first=found.first) if found.n else None


def _found(examples: list[Example], rows: Rows) -> list[Example]:
    if not examples:
        raise DataError(f"{rows.origin}: no examples in it")
    return examples
