"""The forgetting matrix R: every task's score after every stage, under one view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from lori_cl.errors import InputError

Source = Literal["measured", "cached"]


@dataclass(frozen=True)
class Cell:
    """The score of one task after one stage."""

    score: float
    """A fraction for right/wrong metrics; in the metric's own sign, even if lower is better."""
    n: int
    """Number of scored examples."""
    stderr: float = math.nan
    """Standard error of the score; NaN if unknown."""
    source: Source = "measured"
    """`cached`: the digest of the score's inputs equals that of an earlier measured cell."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise InputError(f"The score {self.score} is not a finite number; omit a cell that has no score.")
        if self.n < 1:
            raise InputError(
                f"A score needs at least one example, not {self.n}; omit a cell that has no score."
            )


@dataclass(frozen=True)
class ForgettingMatrix:
    """R[i, j] under one view; row 0 is the base model, row i the state after stage i.

    Task j is trained at stage j. An unfinished run has fewer stages than tasks.
    """

    tasks: tuple[str, ...]
    """Names in training order."""
    view: str
    """The view that was active when the scores were measured."""
    cells: tuple[tuple[Cell | None, ...], ...]
    """Stages + 1 rows with one cell per task; None if it was not evaluated."""
    higher_is_better: tuple[bool, ...]
    """The direction of each task's metric."""

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"A matrix needs at least one task, without duplicates; got {list(self.tasks)}.")
        if not 0 <= self.stages <= len(self.tasks):
            raise InputError(
                f"{self.stages} stages do not match {len(self.tasks)} tasks: one task is trained per stage."
            )
        if any(len(row) != len(self.tasks) for row in (*self.cells, self.higher_is_better)):
            raise InputError(
                f"Every row, and higher_is_better, needs {len(self.tasks)} entries, one per task."
            )

    @classmethod
    def from_cells(
        cls,
        tasks: Sequence[str],
        view: str,
        stages: int,
        cells: Mapping[tuple[int, int], Cell],
        higher_is_better: Sequence[bool] | None = None,
    ) -> ForgettingMatrix:
        """Create the matrix after `stages` finished stages from cells keyed by (stage, task index from 0).

        Stage 0 is the base model. `higher_is_better` defaults to True for every task.
        Raises: InputError: a cell is outside the matrix, or the lengths differ.
        """
        outside = sorted(set(cells) - set(product(range(stages + 1), range(len(tasks)))))
        if outside:
            raise InputError(
                f"Cell (stage {outside[0][0]}, task index {outside[0][1]}) is outside a matrix "
                f"of stages 0 to {stages} and task indices 0 to {len(tasks) - 1}."
            )
        rows = tuple(tuple(cells.get((i, j)) for j in range(len(tasks))) for i in range(stages + 1))
        directions = (True,) * len(tasks) if higher_is_better is None else tuple(higher_is_better)
        return cls(tuple(tasks), view, rows, directions)

    @property
    def stages(self) -> int:
        """Number of finished stages; T in the formulas."""
        return len(self.cells) - 1

    @cached_property
    def scores(self) -> Float[np.ndarray, "stages+1 tasks"]:
        """The scores in each metric's own sign; NaN if not evaluated."""
        return _read_only([[cell.score if cell else math.nan for cell in row] for row in self.cells], float)

    @cached_property
    def n(self) -> Int[np.ndarray, "stages+1 tasks"]:
        """Examples per cell; 0 if not evaluated."""
        return _read_only([[cell.n if cell else 0 for cell in row] for row in self.cells], np.int64)

    @cached_property
    def stderr(self) -> Float[np.ndarray, "stages+1 tasks"]:
        """Standard error per cell; NaN if not evaluated or unknown."""
        return _read_only([[cell.stderr if cell else math.nan for cell in row] for row in self.cells], float)

    @cached_property
    def source(self) -> tuple[tuple[Source | None, ...], ...]:
        """`measured` or `cached` per cell; None if not evaluated."""
        return tuple(tuple(cell.source if cell else None for cell in row) for row in self.cells)

    def oriented(self) -> Float[np.ndarray, "stages+1 tasks"]:
        """Return the scores as the formulas use them: those of lower-is-better tasks are negated."""
        return _read_only(np.where(self.higher_is_better, self.scores, -self.scores), float)

    def change_since_learned(self) -> Float[np.ndarray, "stages+1 tasks"]:
        """Return R[i, j] − R[j, j] for i ≥ j, NaN elsewhere. Negative is worse for every metric."""
        R = self.oriented()
        after_training = np.full(len(self.tasks), math.nan)
        after_training[: self.stages] = np.diagonal(R, offset=-1)
        stage, task = np.indices(R.shape)
        return _read_only(np.where(stage > task, R - after_training, math.nan), float)


def _read_only(values: Any, dtype: Any) -> Shaped[np.ndarray, "stages+1 tasks"]:
    """Return a permanently read-only copy."""
    array = np.array(values, dtype)
    # An array over bytes cannot be made writeable again; an array that owns its memory can.
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
