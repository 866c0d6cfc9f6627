"""Whether programs pass their tests; they run contained, and only where the user allows it."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from lori_cl.spec import CodeSpec
from lori_cl.tasks.containment import Limits, pass_all
from lori_cl.tasks.examples import COMPLETION, Example
from lori_cl.tasks.scorers.base import Grade, Samples, Scorer, mean_grade


class PassAtK(Scorer):
    """The chance that one of k samples passes, without bias, from n ≥ k samples."""

    runs_code = True

    def grade(self, task: CodeSpec, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Run every program once, contained."""
        programs = [
            example.check.replace(COMPLETION, answer)
            for samples, example in zip(answers, examples, strict=True)
            for answer in samples
        ]
        limits = Limits(seconds=task.timeout_s, memory_bytes=task.memory_mb * 2**20)
        passed = np.array(pass_all(programs, limits)).reshape(len(examples), task.samples)  # (examples, n)
        right = passed.sum(axis=1).tolist()
        of = {k: np.array([pass_at_k(task.samples, c, k) for c in right]) for k in task.pass_at}
        parts = {f"pass@{k}": float(outcomes.mean()) for k, outcomes in of.items()}
        return mean_grade(of[task.pass_at[0]], parts)


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 − C(n − c, k) / C(n, k): the chance that k of n samples, c of them right, hold a right one.

    Source: Chen et al. 2021 (arXiv 2107.03374), equation 1.
    """
    return 1 - comb(n - c, k) / comb(n, k)
