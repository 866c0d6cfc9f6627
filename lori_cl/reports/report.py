"""The contents of a report, as frozen values that any format renders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lori_cl.forgetting import Cell, ForgettingMatrix, Metric, PairedTest, overall_performance
from lori_cl.registry import Run
from lori_cl.reports.capacity import Capacity

SINGLE_TASK_METRICS = frozenset({"single_task_gap", "retention"})
"""Metrics that need runs of single tasks."""


@dataclass(frozen=True)
class Entry:
    """A cell of a matrix with its change."""

    cell: Cell
    change: float | None
    """Change since the task was trained, negative is worse; None before that."""
    own: bool
    """Whether the task was trained at this stage."""
    sampled: bool = False
    """Whether only a sample of the task's examples was scored."""

    @property
    def mark(self) -> str:
        """'~' for a score on a sample, '=' for a cached score, or both."""
        return ("~" if self.sampled else "") + ("=" if self.cell.source == "cached" else "")


@dataclass(frozen=True)
class Row:
    """A row of a matrix."""

    stage: int
    """0 is the base model."""
    task: str | None
    """The task trained at this stage; None in row 0."""
    entries: tuple[Entry | None, ...]
    """One entry per task; None if the task was not evaluated."""
    overall: float | None
    """Overall performance: the mean over the trained tasks; None in row 0 or if a score is missing."""


@dataclass(frozen=True)
class Change:
    """An earlier task's score after the last stage, compared with the score of its own stage."""

    task: str
    score: float
    """Difference of the two scores; negative is worse."""
    test: PairedTest | None
    """Paired test of the answers; None if the two were scored on different examples."""


@dataclass(frozen=True)
class ViewReport:
    """A run under one view."""

    matrix: ForgettingMatrix
    metrics: tuple[Metric, ...]
    """In display order."""
    changes: tuple[Change, ...]
    """One per earlier task; empty in views other than `current`."""
    truncated: tuple[int, ...]
    """For each task, the number of truncated examples, from the last row that has it."""
    parts: tuple[Mapping[str, float], ...]
    """For each task, additional metrics by name, from the last row that has it."""
    distinct: tuple[int | None, ...] = ()
    """For each task, the number of distinct inputs; None if the eval set was not read."""

    @property
    def name(self) -> str:
        """The view's name."""
        return self.matrix.view

    @property
    def shown_metrics(self) -> tuple[Metric, ...]:
        """The metrics to show: those that need runs of single tasks are omitted if there are no such runs."""
        return tuple(m for m in self.metrics if m.value is not None or m.name not in SINGLE_TASK_METRICS)

    @property
    def repeats(self) -> bool:
        """Whether a task has repeated inputs, so fewer distinct inputs than examples."""
        return any(
            d is not None and n is not None and d < n for d, n in zip(self.distinct, self.n, strict=False)
        )

    @property
    def has_samples(self) -> bool:
        """Whether a score is taken on a sample of the task's examples."""
        return any(entry is not None and entry.sampled for row in self.rows() for entry in row.entries)

    @property
    def n(self) -> tuple[int | None, ...]:
        """The number of examples each task is scored on; None if it was never scored."""
        return tuple(int(largest) or None for largest in self.matrix.n.max(axis=0))

    def rows(self) -> tuple[Row, ...]:
        """Return the rows of the matrix, starting with the base model."""
        changes, n = self.matrix.change_since_learned(), self.n
        return tuple(
            Row(
                stage=i,
                task=self.matrix.tasks[i - 1] if i else None,
                entries=tuple(
                    None
                    if cell is None
                    else Entry(cell, number(changes[i, j]), own=j == i - 1, sampled=cell.n < (n[j] or 0))
                    for j, cell in enumerate(cells)
                ),
                overall=overall_performance(self.matrix, i).value if i else None,
            )
            for i, cells in enumerate(self.matrix.cells)
        )


@dataclass(frozen=True)
class GeneralAbility:
    """The scores of a task that is scored and never trained, in the view `current`."""

    task: str
    metric: str
    n: int | None
    """Number of examples; None if it was never scored."""
    cells: tuple[Cell | None, ...]
    """One per stage; the first is the base model."""
    change: Change | None
    """The last stage compared with the base model; None without one of the two."""

    def change_at(self, stage: int) -> float | None:
        """Return the difference of a stage's score to that of the base model; negative is worse."""
        base, cell = self.cells[0], self.cells[stage]
        return None if base is None or cell is None or not stage else cell.score - base.score


@dataclass(frozen=True)
class RunReport:
    """The report on one run."""

    run: Run
    views: tuple[ViewReport, ...]
    """In the curriculum's order; `routed` is last if lori-cl route added it."""
    capacity: Capacity | None
    """None for a method without masks."""
    warnings: tuple[str, ...] = ()
    """Reasons why scores over its eval sets are of limited use."""
    general: tuple[GeneralAbility, ...] = ()
    """The tasks of `eval.also`. No metric contains them."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task labels, in training order."""
        return tuple(task.label for task in self.run.tasks)


def number(value: float) -> float | None:
    """Return the value, or None for NaN, which JSON cannot represent."""
    return None if math.isnan(value) else float(value)
