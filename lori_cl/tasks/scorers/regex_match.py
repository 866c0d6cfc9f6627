"""Regex match: whether the answer contains a match of the example's pattern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import regex

from lori_cl.tasks.examples import Example
from lori_cl.tasks.scorers.base import Grade, Samples, Scorer, mean_grade, mean_outcomes

LONGEST_PATTERN = 1_000
"""Maximum number of characters."""
TIMEOUT_S = 1.0
"""Time limit of one match: a pattern may need exponential time."""


class RegexMatch(Scorer):
    """The mean over examples; the pattern is in `Example.check`.

    The pattern may match anywhere in the answer: `^` and `$` bind it to its ends, and `(?i)` ignores case. A
    blank answer scores 0, and so does an answer on which the pattern takes longer than TIMEOUT_S.
    """

    def grade(self, task: Any, answers: Sequence[Samples], examples: Sequence[Example]) -> Grade:
        """Grade each example by the mean over its samples."""
        return mean_grade(mean_outcomes(answers, examples, _outcome), examples)

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also reject examples without a valid pattern."""
        for example in examples:
            if (problem := pattern_problem(example.check)) is not None:
                return f"the pattern of row {example.id + 1} {problem}"
        return super().unscorable(task, examples)


def pattern_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern; None if it can be used."""
    if not pattern:
        return "is empty"
    if len(pattern) > LONGEST_PATTERN:
        return f"has {len(pattern):,} characters; the limit is {LONGEST_PATTERN:,}"
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    return None


def _outcome(answer: str, example: Example) -> float:
    if not answer.strip():
        return 0.0
    try:
        return float(regex.search(example.check, answer, timeout=TIMEOUT_S) is not None)
    except TimeoutError:
        return 0.0
