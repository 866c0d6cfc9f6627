"""What an eval set can show: how many distinct examples it has, and what its scores then mean."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.forgetting.distinct import Groups, groups_of

FEW = 30
"""Below so many distinct examples, a score of 50 % has a standard error of more than 9 points."""
SHOWN = 40
"""Characters of a text that a warning shows."""


@dataclass(frozen=True)
class EvalRow:
    """One example, as far as these checks read it."""

    row: int
    """Counted from 0."""
    input: tuple[str, ...]
    """Its text and choices."""
    answer: str | None
    """What a model that always answers alike would always say; None where that cannot be said."""

    @classmethod
    def of(cls, kind: str, example: Mapping[str, Any]) -> EvalRow:
        """From an example's fields, by the task's kind."""
        choices = tuple(example.get("choices") or ())
        answer: str | None = example["target"]
        if kind == "multiple_choice":
            answer = f"choice {choices.index(answer) + 1}" if answer in choices else None
        elif kind == "safety":
            answer = example.get("check")
        elif kind == "code":
            answer = None
        return cls(int(example["id"]), (example["text"], *choices), answer)


@dataclass(frozen=True)
class EvalSetFacts:
    """An eval set in figures."""

    n: int
    distinct: int
    """Different inputs."""
    groups: Groups | None
    """Of every row, the number of its input; None where all differ."""
    warnings: tuple[str, ...]
    """What makes its scores say little, one line each."""


def eval_set_facts(rows: Sequence[EvalRow]) -> EvalSetFacts:
    """Count distinct inputs, and find what makes scores over these examples say little."""
    groups = groups_of([row.input for row in rows])
    distinct = len(rows) if groups is None else int(groups.max()) + 1
    found = (_few(distinct), _repeated(rows, distinct), _one_answer(rows), _two_answers(rows))
    return EvalSetFacts(len(rows), distinct, groups, tuple(warning for warning in found if warning))


def _few(distinct: int) -> str | None:
    if distinct >= FEW or not distinct:
        return None
    if distinct == 1:
        return "one distinct eval example, so a score has no standard error and says next to nothing"
    return (
        f"only {distinct} distinct eval examples: a score of 50 % has a standard error of "
        f"{50 / math.sqrt(distinct - 1):.1f} points"
    )


def _repeated(rows: Sequence[EvalRow], distinct: int) -> str | None:
    if distinct == len(rows):
        return None
    seen: dict[tuple[str, ...], int] = {}
    repeats = (r for r in rows if seen.setdefault(r.input, r.row) != r.row)
    row, first = next((r.row, seen[r.input]) for r in repeats)
    return (
        f"{len(rows) - distinct:,} of {len(rows):,} eval examples repeat the input of another "
        f"({distinct:,} are distinct; the first is row {row + 1}, which repeats row {first + 1}); "
        "standard errors and tests count distinct inputs"
    )


def _one_answer(rows: Sequence[EvalRow]) -> str | None:
    answers = {row.answer for row in rows}
    if len(answers) != 1 or None in answers or len({row.input for row in rows}) < 2:
        return None
    answer = _shortened(str(answers.pop()))
    return f"all {len(rows):,} eval examples want '{answer}': a model that always gives it has full marks"


def _two_answers(rows: Sequence[EvalRow]) -> str | None:
    by_input: defaultdict[tuple[str, ...], dict[str | None, int]] = defaultdict(dict)
    for row in rows:
        by_input[row.input].setdefault(row.answer, row.row)
    torn = [(texts, answers) for texts, answers in by_input.items() if len(answers) > 1]
    if not torn:
        return None
    (text, *_), answers = torn[0]
    (one, at), (other, elsewhere), *_ = answers.items()
    return (
        f"{len(torn):,} inputs stand under two answers, so no model can have all of them right; the first, "
        f"'{_shortened(text)}', wants '{_shortened(str(one))}' in row {at + 1} and "
        f"'{_shortened(str(other))}' in row {elsewhere + 1}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
