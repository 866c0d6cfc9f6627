from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from lori_cl.forgetting import Cell, ForgettingMatrix

MatrixOf = Callable[..., ForgettingMatrix]


@pytest.fixture(scope="session")
def matrix_of() -> MatrixOf:
    """Return a function that builds a matrix from rows of scores, base model first; None is missing."""

    def build(
        rows: Sequence[Sequence[float | None]], higher_is_better: Sequence[bool] | None = None
    ) -> ForgettingMatrix:
        tasks = ["sst2", "agnews", "qqp", "mnli", "amazon"][: len(rows[0])]
        cells = {
            (i, j): Cell(score, n=100, stderr=0.01)
            for i, row in enumerate(rows)
            for j, score in enumerate(row)
            if score is not None
        }
        return ForgettingMatrix.from_cells(tasks, "current", len(rows) - 1, cells, higher_is_better)

    return build


@pytest.fixture
def worked_example(matrix_of: MatrixOf) -> ForgettingMatrix:
    """Return the worked example of METRICS.md with the base model's scores 0.5, 0.25 and 0.05."""
    return matrix_of([[0.5, 0.25, 0.05], [0.6, 0.7, 0.1], [0.8, 0.5, 0.2], [0.7, 0.65, 0.9]])
