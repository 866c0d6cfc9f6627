"""What a report holds, as frozen values that any format renders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lori_cl.forgetting import Cell, ForgettingMatrix, Metric, PairedTest, overall_performance
from lori_cl.registry import Run
from lori_cl.reports.capacity import Capacity

COMPARED = frozenset({"single_task_gap", "retention"})
"""Metrics that need runs of single tasks."""


@dataclass(frozen=True)
class Entry:
    """A cell of a matrix, with what a reader wants to see beside it."""

    cell: Cell
    change: float | None
    """Since the task was learned, negative is worse; None before."""
    own: bool
    """Whether the task was learned at this stage."""


@dataclass(frozen=True)
class Row:
    """A row of a matrix."""

    stage: int
    """0 is the base model."""
    task: str | None
    """What was learned at this stage; None in row 0."""
    entries: tuple[Entry | None, ...]
    """One a task; None where it was not evaluated."""
    overall: float | None
    """Overall performance, the mean over the tasks learned so far; None in row 0, or if one is missing."""


@dataclass(frozen=True)
class Change:
    """An earlier task: its score after the last stage against that of its own stage."""

    task: str
    score: float
    """Difference of the two scores; negative is worse."""
    test: PairedTest | None
    """Of the answers, example by example; None where the two were scored on different examples."""


@dataclass(frozen=True)
class ViewReport:
    """A run under one view."""

    matrix: ForgettingMatrix
    metrics: tuple[Metric, ...]
    """In the order of a table."""
    changes: tuple[Change, ...]
    """One for each earlier task; empty under views other than `current`."""
    truncated: tuple[int, ...]
    """Of each task's examples, those that were too long to be read whole, in the last row that has it."""
    parts: tuple[Mapping[str, float], ...]
    """Of each task, further numbers of its answers by name, in the last row that has it."""
    distinct: tuple[int | None, ...] = ()
    """Of each task's examples, the different inputs; None where the eval set was not read."""

    @property
    def name(self) -> str:
        """The view's name."""
        return self.matrix.view

    @property
    def told(self) -> tuple[Metric, ...]:
        """The metrics that a reader is shown: those against other runs only where there are such runs."""
        return tuple(m for m in self.metrics if m.value is not None or m.name not in COMPARED)

    @property
    def repeats(self) -> bool:
        """Whether inputs of a task are repeated, so that there are fewer distinct ones than examples."""
        return any(
            d is not None and n is not None and d < n for d, n in zip(self.distinct, self.n, strict=False)
        )

    @property
    def n(self) -> tuple[int | None, ...]:
        """Examples a task is scored on; None where it was never scored."""
        return tuple(int(most) or None for most in self.matrix.n.max(axis=0))

    def rows(self) -> tuple[Row, ...]:
        """The matrix row by row, the base model first."""
        changes = self.matrix.change_since_learned()
        return tuple(
            Row(
                stage=i,
                task=self.matrix.tasks[i - 1] if i else None,
                entries=tuple(
                    None if cell is None else Entry(cell, number(changes[i, j]), own=j == i - 1)
                    for j, cell in enumerate(cells)
                ),
                overall=overall_performance(self.matrix, i).value if i else None,
            )
            for i, cells in enumerate(self.matrix.cells)
        )


@dataclass(frozen=True)
class RunReport:
    """All that is said about one run."""

    run: Run
    views: tuple[ViewReport, ...]
    """In the curriculum's order; `routed` last where lori-cl route added it."""
    capacity: Capacity | None
    """None for a run whose every stage overwrites the whole adapter."""
    warnings: tuple[str, ...] = ()
    """What makes scores over its eval sets say little."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Labels, in the order of learning."""
        return tuple(task.label for task in self.run.tasks)


def number(value: float) -> float | None:
    """None for NaN, which neither JSON nor a reader knows."""
    return None if math.isnan(value) else float(value)
