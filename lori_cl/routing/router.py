"""Linear discriminant analysis from statistics alone: class means and one covariance shared by all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Self

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from lori_cl.errors import ArtifactDamaged
from lori_cl.routing.statistics import Features, TaskStatistics

Square = Float[np.ndarray, "d d"]


@dataclass(frozen=True, eq=False)
class Router:
    """Guesses the task of a text from its features, every task equally likely beforehand."""

    tasks: tuple[str, ...]
    """Labels, in the order of learning."""
    shrinkage: float
    """How far the pooled covariance is drawn towards its diagonal, in [0, 1]."""
    _weights: Float[np.ndarray, "tasks d"]
    _offsets: Float[np.ndarray, "tasks"]
    """A text's task has the largest weights · features + offset."""

    @classmethod
    def fit(cls, statistics: Mapping[str, TaskStatistics]) -> Self:
        """From each task's statistics by label, in the order of learning; at least one task.

        The covariance is pooled within the tasks and shrunk, so that it can be inverted where there are
        fewer texts than features. Source: Fisher 1936. scikit-learn's LinearDiscriminantAnalysis, fitted to
        texts, guesses the same; from moments it is least squares, which take twenty times as long as this.
        Raises: ArtifactDamaged, if they are not the statistics of any texts.
        """
        of = list(statistics.values())
        covariance, shrinkage = shrunk(_pooled(of), sum(task.n for task in of))
        means = np.stack([task.mean for task in of])  # (tasks, d)
        try:
            weights = cho_solve(cho_factor(covariance), means.T).T  # (tasks, d)
        except LinAlgError:
            raise ArtifactDamaged("the tasks' statistics together are those of no texts") from None
        return cls(tuple(statistics), shrinkage, weights, -(weights * means).sum(axis=1) / 2)

    def among(self, tasks: Sequence[str]) -> Router:
        """What guesses between these of its tasks alone."""
        kept = [self.tasks.index(task) for task in tasks]
        return replace(self, tasks=tuple(tasks), _weights=self._weights[kept], _offsets=self._offsets[kept])

    def route(self, features: Features) -> list[str]:
        """Each row's likeliest task; ties go to the task that was learned first."""
        scores = features.astype(np.float64) @ self._weights.T + self._offsets  # (texts, tasks)
        return [self.tasks[k] for k in scores.argmax(axis=1)]


def shrunk(covariance: Square, n: int) -> tuple[Square, float]:
    """(the covariance drawn towards its diagonal, how far), for a covariance estimated over n texts.

    The amount is that of OAS (Chen, Wiesel, Eldar & Hero 2010, eq. 23, without the terms in 2/d, as
    scikit-learn has it), taken of the correlations: a few features of a language model can vary a thousand
    times more than all others, and would otherwise set the scale for all. Where nothing varies at all, it is
    the identity: the nearest mean wins.
    """
    d = len(covariance)
    spread = np.sqrt(np.diag(covariance))
    if not spread.any():
        return np.eye(d), 1.0
    scale = np.where(spread > 0, spread, 1.0)
    correlations = covariance / np.outer(scale, scale)
    squared, mean_squared = np.mean(correlations**2), (np.trace(correlations) / d) ** 2
    excess = (n + 1) * (squared - mean_squared / d)
    amount = float(min((squared + mean_squared) / excess, 1.0)) if excess > 0 else 1.0
    from sklearn.covariance import shrunk_covariance  # takes a second to import

    return shrunk_covariance(correlations, shrinkage=amount) * np.outer(scale, scale), amount


def _pooled(statistics: Sequence[TaskStatistics]) -> Square:
    pooled: Square = reduce(add, (of.scatter for of in statistics)) / sum(of.n for of in statistics)
    return pooled
