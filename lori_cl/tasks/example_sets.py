"""Read the training examples and the eval set of a task."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lori_cl.errors import DataError
from lori_cl.forgetting.subset import random_subset
from lori_cl.spec import ClassificationSpec, SkippedRows, TaskSpec
from lori_cl.tasks.duplicates import duplicates, near_duplicates
from lori_cl.tasks.examples import Example
from lori_cl.tasks.graded_rows import with_graded_rows
from lori_cl.tasks.held_out import split_rows
from lori_cl.tasks.kinds import kind_of
from lori_cl.tasks.kinds.labels import inexact_labels
from lori_cl.tasks.label_inference import infer_labels
from lori_cl.tasks.rows import Rows
from lori_cl.tasks.scorer_source import freeze_scorer
from lori_cl.tasks.scorers import SCORERS
from lori_cl.tasks.sources import read_split

log = logging.getLogger(__name__)


def train_examples(
    task: TaskSpec, task_folder: Path, limit: int | None = None, seed: int = 0
) -> list[Example]:
    """Return the training examples; `limit` draws that many with the seed and keeps their order.

    Raises: DataError, if the source is missing or empty, or contains an example that the task does not allow.
    """
    rows = _train_rows(task, task_folder)
    examples = _require_examples(kind_of(task).training_examples(task, rows), rows)
    _check_numbering(task, rows, lambda: _eval_rows(task, task_folder))
    if (skipped := _skipped(task.train.split, rows)) is not None:
        log.warning("task '%s': %s", task.name, skipped.words())
    _log_inexact_labels(task, [rows])
    return random_subset(examples, limit, seed)


def eval_examples(task: TaskSpec, task_folder: Path) -> list[Example]:
    """Return the eval set; `eval.limit` draws examples with the task's seed.

    Raises: DataError, if the source is missing or empty, or contains an example that the task does not allow
    or that its metric cannot score.
    """
    return _eval_examples(task, _eval_rows(task, task_folder))


def _eval_examples(task: TaskSpec, rows: Rows) -> list[Example]:
    found = _require_examples(_scorable(task, kind_of(task).examples(task, rows), rows), rows)
    examples = random_subset(found, task.eval.limit, task.seed)
    require_scorable(task, examples)
    return with_graded_rows(task, examples, rows)


def _train_rows(task: TaskSpec, task_folder: Path) -> Rows:
    if task.eval.fraction is not None:
        return split_rows(task, _source_rows(task, task_folder))[0]
    columns, own = kind_of(task).columns(task, training=True), task.train.source
    return read_split(own or task.source, task.train.split, task_folder, columns, one_file=own is not None)


def _eval_rows(task: TaskSpec, task_folder: Path) -> Rows:
    if task.eval.fraction is not None:
        return split_rows(task, _source_rows(task, task_folder))[1]
    if (own := kind_of(task).own_rows(task)) is not None:
        return own
    columns, one_file = _eval_columns(task), task.train.source is not None
    return read_split(task.source, task.eval.split, task_folder, columns, one_file=one_file)


def _eval_columns(task: Any) -> set[str] | None:
    """Return the columns of the eval examples and of their metric; None means all."""
    columns, graded = kind_of(task).columns(task), SCORERS[task.metric].row_columns(task)
    return None if columns is None or graded is None else columns | set(graded)


def _read_rows(task: TaskSpec, task_folder: Path) -> list[Rows]:
    """Return the rows that `eval.fraction` splits, or the rows of both splits."""
    if task.eval.fraction is not None:
        return [_source_rows(task, task_folder)]
    return [_train_rows(task, task_folder), _eval_rows(task, task_folder)]


def _source_rows(task: TaskSpec, task_folder: Path) -> Rows:
    """Return the rows that `eval.fraction` splits, with the columns of both sides."""
    train, held_out = kind_of(task).columns(task, training=True), _eval_columns(task)
    columns = None if train is None or held_out is None else train | held_out
    return read_split(task.source, task.train.split, task_folder, columns, one_file=True)


def _check_numbering(task: TaskSpec, rows: Rows, others: Callable[[], Rows]) -> None:
    """Check what a split's numbers count from; use the other split too if one is not enough."""
    try:
        kind_of(task).check_numbering(task, [rows])
    except DataError:
        kind_of(task).check_numbering(task, [rows, others()])


def _scorable(task: Any, examples: list[Example], rows: Rows) -> list[Example]:
    """Return the examples whose reference answer can be scored; the others count as invalid rows."""
    if not task.source.skip_invalid or task.kind != "generation":
        return examples
    kept = []
    for example in examples:
        reason = SCORERS[task.metric].unscorable(task, [example])
        if reason is None:
            kept.append(example)
        else:
            rows.invalid.add(DataError(f"{rows.where(example.id)}: {reason}"))
    return kept


def require_scorable(task: Any, examples: Sequence[Example]) -> None:
    """Make sure that a score over these examples is meaningful.

    Raises: DataError, with the reason, if it is not.
    """
    reason = SCORERS[task.metric].unscorable(task, examples)
    if reason is not None:
        raise DataError(f"task '{task.name}': {task.metric} cannot score split '{task.eval_split}': {reason}")


@dataclass(frozen=True)
class TaskData:
    """The data of a task's sources."""

    task: TaskSpec
    """The declaration, with its label set if that was inferred, and the source of its scorer file."""
    train: list[Example]
    held_out: list[Example]
    skipped: tuple[SkippedRows, ...]
    """Skipped invalid rows; one entry for each split that has some."""
    inferred: str | None = None
    """A message about the label set if it was inferred."""


def read_task(task: TaskSpec, task_folder: Path) -> TaskData:
    """Read both splits; no example may be in both unless the task allows duplicates.

    Raises: DataError, as `train_examples`, `eval_examples`, `infer_labels`, `freeze_scorer` and
        `require_no_duplicates`.
    """
    task = kind_of(task).frozen(freeze_scorer(task, task_folder))
    if task.eval_only:
        return _read_eval_only(task, task_folder)
    read = _read_rows(task, task_folder)
    task, inferred = _with_labels(task, read)
    train_rows, eval_rows = read if len(read) > 1 else split_rows(task, read[0])
    train = _require_examples(kind_of(task).training_examples(task, train_rows), train_rows)
    held_out = _eval_examples(task, eval_rows)
    _check_numbering(task, train_rows, lambda: eval_rows)
    _check_numbering(task, eval_rows, lambda: train_rows)
    require_no_duplicates(task, train, held_out)
    skipped = [_skipped(task.train.split, train_rows)]
    if task.eval.fraction is None:  # otherwise both sides share the skipped rows of one split
        skipped.append(_skipped(task.eval.split, eval_rows))
    _log_inexact_labels(task, [train_rows, eval_rows])
    return TaskData(task, train, held_out, tuple(each for each in skipped if each is not None), inferred)


def _read_eval_only(task: TaskSpec, task_folder: Path) -> TaskData:
    """Read the eval set of a task without training data."""
    rows = _eval_rows(task, task_folder)
    task, inferred = _with_labels(task, [rows])
    held_out = _eval_examples(task, rows)
    _check_numbering(task, rows, lambda: rows)
    skipped = _skipped(task.eval.split, rows)
    _log_inexact_labels(task, [rows])
    return TaskData(task, [], held_out, () if skipped is None else (skipped,), inferred)


def _with_labels(task: TaskSpec, read: Sequence[Rows]) -> tuple[TaskSpec, str | None]:
    """Return the task with its label set, and a message about it if it was inferred from these rows."""
    if not isinstance(task, ClassificationSpec) or task.labels:
        return task, None
    found = infer_labels(task, read)
    return task.model_copy(update={"labels": found.labels}), found.words(task.columns.label)


def _log_inexact_labels(task: TaskSpec, splits: Sequence[Rows]) -> None:
    line = inexact_labels(task, splits) if isinstance(task, ClassificationSpec) else None
    if line is not None:
        log.info(line)


def require_no_duplicates(task: TaskSpec, train: Sequence[Example], held_out: Sequence[Example]) -> None:
    """Make sure that no eval example is a training example, ignoring case, spaces and punctuation.

    Raises: DataError, with the number of such examples and the first, unless the task allows duplicates.
    """
    repeated = [] if task.allow_duplicates else duplicates(train, held_out)
    if repeated:
        first = repeated[0]
        exact = first.held_out.text == first.train.text
        raise DataError(
            f"task '{task.name}': {len(repeated):,} of {len(held_out):,} eval examples are also training "
            f"examples (the first is row {first.held_out.id + 1} of split '{task.eval_split}', "
            f"equal to row {first.train.id + 1} of split '{task.train.split}'"
            f"{'' if exact else ' except for case, spaces or punctuation'}), so the score would reward "
            "memorization. Remove them from one split, or set allow_duplicates: true"
        )


def near_duplicates_line(task: TaskSpec, train: Sequence[Example], held_out: Sequence[Example]) -> str | None:
    """Return a line with the number of near duplicates of training examples; None if there are none."""
    near = near_duplicates(train, held_out)
    if near.first is None:
        return None
    part = "" if near.compared == len(train) else f" (of {len(train):,}, {near.compared:,} were compared)"
    return (
        f"task '{task.name}': {near.n:,} of {len(held_out):,} eval examples ({near.n / len(held_out):.1%}) "
        f"are near duplicates of training examples{part}; the first is row {near.first.held_out.id + 1} of "
        f"split '{task.eval_split}', near row {near.first.train.id + 1} of split '{task.train.split}'"
    )


def _skipped(split: str, rows: Rows) -> SkippedRows | None:
    found = rows.invalid.skipped(str(Path(rows.origin).parent) + os.sep)
    return SkippedRows(split=split, n=found.n, first=found.first) if found.n else None


def _require_examples(examples: list[Example], rows: Rows) -> list[Example]:
    if not examples:
        raise DataError(f"{rows.origin}: no examples")
    return examples
