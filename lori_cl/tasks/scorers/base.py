"""What a scorer is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 200


@dataclass(frozen=True)
class Scorer:
    """A metric, higher is better, as a fraction."""

    outcome: Callable[[str, str], float]
    """(answer, target) → how right one answer is, in [0, 1]."""
    aggregate: Callable[[Sequence[str], Sequence[str]], float] | None = None
    """(answers, targets) → the score; None where it is the mean of the outcomes."""

    def outcomes(self, answers: Sequence[str], targets: Sequence[str]) -> Float[np.ndarray, "n"]:
        """How right each answer is."""
        return np.array([self.outcome(a, t) for a, t in zip(answers, targets, strict=True)], dtype=np.float64)

    def score(self, answers: Sequence[str], targets: Sequence[str]) -> float:
        """The score of all answers together."""
        if self.aggregate is None:
            return float(self.outcomes(answers, targets).mean())
        return self.aggregate(answers, targets)

    def standard_error(self, answers: Sequence[str], targets: Sequence[str]) -> float | None:
        """Of a mean: std (ddof = 1) / √n. Otherwise the spread over 200 seeded bootstrap resamples."""
        n = len(answers)
        if n < 2:
            return None
        if self.aggregate is None:
            return float(self.outcomes(answers, targets).std(ddof=1) / np.sqrt(n))
        # Numbers for names: the metrics compare them much faster.
        numbers = np.unique([*answers, *targets], return_inverse=True)[1].reshape(2, n)
        draws = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
        return float(np.std([self.aggregate(*numbers[:, drawn]) for drawn in draws], ddof=1))
