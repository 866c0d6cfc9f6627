"""What the formulas are written with: R with the papers' indices, and a result that can be missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lori_cl.forgetting.matrix import ForgettingMatrix


@dataclass(frozen=True)
class Metric:
    """One number about a matrix, or why there is none."""

    name: str
    """As in METRICS, such as `bwt`."""
    value: float | None
    """In the tasks' own scale; never NaN. None where it is missing."""
    missing: str | None
    """The cell that was not evaluated, or the reason there is no value; None where there is one."""


class Missing(Exception):
    """What a formula needs is not there; ends it early, and never leaves this room."""


class Scores:
    """R[i, j], counted from 1 as in the papers, higher always better; a missing cell raises Missing."""

    def __init__(self, matrix: ForgettingMatrix) -> None:
        self.T = matrix.stages
        self._matrix = matrix
        self._oriented = matrix.oriented()

    def __getitem__(self, cell: tuple[int, int]) -> float:
        i, j = cell
        return _evaluated(float(self._oriented[i, j - 1]), f"R[{i}, {self._matrix.tasks[j - 1]}]")

    def reference(self, symbol: str, scores: Mapping[str, float], j: int) -> float:
        """Task j in `scores`, which come from another run in each metric's own sign, oriented as R is."""
        task = self._matrix.tasks[j - 1]
        score = _evaluated(float(scores.get(task, math.nan)), f"{symbol}[{task}]")
        return score if self._matrix.higher_is_better[j - 1] else -score

    def need_tasks(self, least: int) -> None:
        """Raises Missing, if fewer tasks than this are learned."""
        if least > self.T:
            tasks = "one task" if least == 1 else "two tasks"
            raise Missing(f"needs at least {tasks}; learned so far: {self.T}")

    def need_stage(self, k: int) -> None:
        """Raises Missing, if there is no finished stage k."""
        if not 1 <= k <= self.T:
            raise Missing(f"needs stage {k}; stages done: {self.T} of {len(self._matrix.tasks)}")

    def common_sign(self, upto: int) -> int:
        """1 where tasks 1..upto are all higher-is-better, −1 where all are lower-is-better.

        Raises Missing where both occur: a mean over an accuracy and an error rate says nothing.
        """
        directions = self._matrix.higher_is_better[:upto]
        if len(set(directions)) > 1:
            odd = self._matrix.tasks[directions.index(not directions[0])]
            raise Missing(f"{odd} and {self._matrix.tasks[0]} have metrics of opposite directions")
        return 1 if directions[0] else -1


def evaluate(name: str, matrix: ForgettingMatrix, formula: Callable[[Scores], float]) -> Metric:
    """The formula's value, or what it found missing."""
    try:
        # + 0.0 turns the −0.0 that negated scores leave behind into 0.0.
        return Metric(name, formula(Scores(matrix)) + 0.0, None)
    except Missing as missing:
        return Metric(name, None, str(missing))


def mean(values: Iterable[float]) -> float:
    """The mean of one or more values, whose last digit does not depend on their order."""
    listed = list(values)
    return math.fsum(listed) / len(listed)


def _evaluated(score: float, name: str) -> float:
    if math.isnan(score):
        raise Missing(f"{name} was not evaluated")
    return score
