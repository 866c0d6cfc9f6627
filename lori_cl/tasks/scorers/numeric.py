"""Numeric match: whether the number in the answer equals the expected one. Grammar: `scorers/numbers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.spec.error_messages import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.scorers.base import MeanOutcome
from lori_cl.tasks.scorers.earlier import numeric_match_1
from lori_cl.tasks.scorers.numbers import answer_quantity, last_number, same_quantity, target_problem


@dataclass(frozen=True)
class NumericMatch(MeanOutcome):
    """Compare the number in each answer with the number in its target."""

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also reject targets that are not exactly one number."""
        for example in examples:
            for gold in example.golds:
                problem = target_problem(gold)
                if problem is not None and not problem[1]:
                    subject = f"the expected answer of row {example.id + 1}, {shown(gold)},"
                    worthless = answer_quantity(gold) is None
                    reason = f"itself scores 0: it {problem[0]}" if worthless else problem[0]
                    return f"{subject} {reason}; write one number, or mark it: '#### 42'"
        return super().unscorable(task, examples)

    def examples_warning(self, examples: Sequence[Example]) -> str | None:
        """Return a warning about prose targets that contain several numbers, or None."""
        ambiguous = [e for e in examples if (problem := target_problem(e.target)) and problem[1]]
        if not ambiguous:
            return None
        return (
            f"{len(ambiguous):,} of {len(examples):,} expected answers contain several numbers; the last one "
            f"counts. The first is row {ambiguous[0].id + 1}, {shown(ambiguous[0].target)}. "
            "Mark the number: '#### 42'"
        )


def _same_number(answer: str, target: str) -> float:
    expected, found = answer_quantity(target), answer_quantity(answer)
    return float(expected is not None and found is not None and same_quantity(found, expected))


NUMERIC_MATCH = NumericMatch(_same_number, earlier=(numeric_match_1,))

__all__ = ["NUMERIC_MATCH", "last_number"]
