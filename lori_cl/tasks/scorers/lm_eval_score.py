"""The metric of `kind: lm-eval`: the number that lm-evaluation-harness gave each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lori_cl.errors import ScoringFailed
from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.tasks.examples import Example
from lori_cl.tasks.scorers.base import Grade, Outcomes, Samples, Scorer, mean_grade


class LMEvalScore(Scorer):
    """The mean of the numbers in the answers, which are JSON objects with `score`."""

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade each example by its number.

        Raises: ScoringFailed: an answer has no number from 0 to 1.
        """
        rows = zip(answers, examples, strict=True)
        outcomes = np.array([_score(task, answer, example) for (answer,), example in rows])
        return mean_grade(outcomes, examples)

    def attainable(
        self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]
    ) -> tuple[Outcomes, float]:
        """Assume full marks: only lm-evaluation-harness can grade an answer."""
        return np.ones(len(examples)), 1.0


def _score(task: Any, answer: str, example: Example) -> float:
    try:
        score = parse_json(answer)["score"]
    except (InvalidJSON, TypeError, LookupError):
        score = None
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ScoringFailed(
            f"task '{task.name}', row {example.id + 1}: {task.score} is {score}, not a number from 0 to 1"
        )
    return float(score)
