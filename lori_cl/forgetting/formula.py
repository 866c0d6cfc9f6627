"""Building blocks of the formulas: R with the papers' indices, and a result that can be missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lori_cl.forgetting.matrix import ForgettingMatrix


@dataclass(frozen=True)
class Metric:
    """One metric of a matrix, or the reason it has no value."""

    name: str
    """As in METRICS, such as `bwt`."""
    value: float | None
    """In the scale of the tasks' scores; never NaN. None if it is missing."""
    missing: str | None
    """The cell that was not evaluated, or another reason why there is no value; None if there is one."""


class Missing(Exception):
    """A value that a formula needs is missing. `evaluate` catches it."""


class Scores:
    """R[i, j], indexed from 1 as in the papers; higher is always better. A missing cell raises Missing."""

    def __init__(self, matrix: ForgettingMatrix) -> None:
        self.T = matrix.stages
        self._matrix = matrix
        self._oriented = matrix.oriented()

    def __getitem__(self, cell: tuple[int, int]) -> float:
        i, j = cell
        return _require_evaluated(float(self._oriented[i, j - 1]), f"R[{i}, {self._matrix.tasks[j - 1]}]")

    def reference(self, symbol: str, scores: Mapping[str, float], j: int) -> float:
        """Return the score of task j in another run's `scores`, oriented as R is.

        `scores` have each metric's own sign.
        """
        task = self._matrix.tasks[j - 1]
        score = _require_evaluated(float(scores.get(task, math.nan)), f"{symbol}[{task}]")
        return score if self._matrix.higher_is_better[j - 1] else -score

    def need_tasks(self, least: int) -> None:
        """Raise Missing if fewer tasks than this are trained."""
        if least > self.T:
            tasks = "one task" if least == 1 else "two tasks"
            raise Missing(f"needs at least {tasks}; trained so far: {self.T}")

    def need_stage(self, k: int) -> None:
        """Raise Missing if stage k is not finished."""
        if not 1 <= k <= self.T:
            raise Missing(f"needs stage {k}; finished stages: {self.T} of {len(self._matrix.tasks)}")

    def common_sign(self, upto: int) -> int:
        """Return 1 if tasks 1..upto are all higher-is-better, −1 if all are lower-is-better.

        Raises Missing if both occur: a mean over an accuracy and an error rate is meaningless.
        """
        directions = self._matrix.higher_is_better[:upto]
        if len(set(directions)) > 1:
            other = self._matrix.tasks[directions.index(not directions[0])]
            raise Missing(f"{other} and {self._matrix.tasks[0]} have metrics with opposite directions")
        return 1 if directions[0] else -1


def evaluate(name: str, matrix: ForgettingMatrix, formula: Callable[[Scores], float]) -> Metric:
    """Evaluate a formula; the result is its value or the reason it is missing."""
    try:
        # Negated scores can give −0.0; + 0.0 makes it 0.0.
        return Metric(name, formula(Scores(matrix)) + 0.0, None)
    except Missing as missing:
        return Metric(name, None, str(missing))


def mean(values: Iterable[float]) -> float:
    """Return the mean of one or more values. It does not depend on their order, even in the last digit."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def _require_evaluated(score: float, name: str) -> float:
    if math.isnan(score):
        raise Missing(f"{name} was not evaluated")
    return score
