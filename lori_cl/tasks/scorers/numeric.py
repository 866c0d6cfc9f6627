"""Whether the number that was written is the wanted one; the grammar is that of `scorers/numbers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.spec.complaints import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.scorers.base import MeanOutcome
from lori_cl.tasks.scorers.earlier import numeric_match_1
from lori_cl.tasks.scorers.numbers import answer_quantity, last_number, same_quantity, target_problem


@dataclass(frozen=True)
class NumericMatch(MeanOutcome):
    """Compares the number of each answer with the number of its target."""

    def unscorable(self, task: Any, examples: Sequence[Example]) -> str | None:
        """Also where a target is not exactly one number."""
        for example in examples:
            for gold in example.golds:
                problem = target_problem(gold)
                if problem is not None and not problem[1]:
                    said = f"the answer wanted in row {example.id + 1}, {shown(gold)},"
                    worthless = answer_quantity(gold) is None
                    why = f"is itself worth 0: it {problem[0]}" if worthless else problem[0]
                    return f"{said} {why}; write one number, or mark it: '#### 42'"
        return super().unscorable(task, examples)

    def doubtful(self, examples: Sequence[Example]) -> str | None:
        """A warning about targets of prose with several numbers."""
        doubted = [e for e in examples if (problem := target_problem(e.target)) and problem[1]]
        if not doubted:
            return None
        return (
            f"{len(doubted):,} of {len(examples):,} wanted answers hold several numbers, of which the last "
            f"counts; the first is row {doubted[0].id + 1}, {shown(doubted[0].target)}; mark it: '#### 42'"
        )


def _same_number(answer: str, target: str) -> float:
    wanted, found = answer_quantity(target), answer_quantity(answer)
    return float(wanted is not None and found is not None and same_quantity(found, wanted))


NUMERIC_MATCH = NumericMatch(_same_number, earlier=(numeric_match_1,))

__all__ = ["NUMERIC_MATCH", "last_number"]
