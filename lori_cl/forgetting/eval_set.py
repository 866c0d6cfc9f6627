"""Checks of an eval set: its number of distinct examples, and warnings about uninformative scores."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.forgetting.distinct import Groups, groups_of

FEW = 30
"""With fewer distinct examples, a score of 50 % has a standard error of more than 9 points."""
MAX_SHOWN = 40
"""Maximum characters of a text in a warning."""


@dataclass(frozen=True)
class EvalRow:
    """The parts of an example that these checks read."""

    row: int
    """Counted from 0."""
    input: tuple[str, ...]
    """The text and choices."""
    answer: str | None
    """The constant answer that would be correct: a label, position or behaviour; None if undefined."""

    @classmethod
    def of(cls, kind: str, example: Mapping[str, Any]) -> EvalRow:
        """Create a row from an example's fields, depending on the task's kind."""
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
    """Counts and warnings of an eval set."""

    n: int
    distinct: int
    """Number of distinct inputs."""
    groups: Groups | None
    """The input number of every row; None if all inputs differ."""
    warnings: tuple[str, ...]
    """Reasons why its scores are uninformative, one line each."""


def eval_set_facts(rows: Sequence[EvalRow]) -> EvalSetFacts:
    """Count distinct inputs, and collect warnings about uninformative scores."""
    groups = groups_of([row.input for row in rows])
    distinct = len(rows) if groups is None else int(groups.max()) + 1
    found = (_few(distinct), _repeated(rows, distinct), _constant_answer(rows), _ambiguous(rows))
    return EvalSetFacts(len(rows), distinct, groups, tuple(warning for warning in found if warning))


def _few(distinct: int) -> str | None:
    if distinct >= FEW or not distinct:
        return None
    if distinct == 1:
        return "only one distinct eval example: a score has no standard error and is uninformative"
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


def _constant_answer(rows: Sequence[EvalRow]) -> str | None:
    answers = {row.answer for row in rows}
    if len(answers) != 1 or None in answers or len({row.input for row in rows}) < 2:
        return None
    answer = _shortened(str(answers.pop()))
    return f"all {len(rows):,} eval examples expect '{answer}': a model that always gives it scores 100 %"


def _ambiguous(rows: Sequence[EvalRow]) -> str | None:
    by_input: defaultdict[tuple[str, ...], dict[str | None, int]] = defaultdict(dict)
    for each in rows:
        by_input[each.input].setdefault(each.answer, each.row)
    ambiguous = [(texts, answers) for texts, answers in by_input.items() if len(answers) > 1]
    if not ambiguous:
        return None
    (text, *_), answers = ambiguous[0]
    (one, row), (other, other_row), *_ = answers.items()
    return (
        f"{len(ambiguous):,} inputs have several expected answers, so no model can answer all correctly; "
        f"the first, '{_shortened(text)}', expects '{_shortened(str(one))}' in row {row + 1} and "
        f"'{_shortened(str(other))}' in row {other_row + 1}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
