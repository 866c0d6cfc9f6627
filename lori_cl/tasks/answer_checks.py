"""Whether the wanted answers can win: each is scored as if a model had written it.

With a tokenizer, a wanted answer is encoded, cut at `max_new_tokens`, decoded and cut at a `stop`, as what a
model writes is. The score of all of them is the best that any model can reach. Below LEAST_ATTAINABLE the
task is refused; where only some answers lose something, a warning gives their number and the first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lori_cl.errors import DataError
from lori_cl.forgetting.eval_set import EvalRow, eval_set_facts
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds import kind_of
from lori_cl.tasks.kinds.base import Given
from lori_cl.tasks.scorers import SCORERS
from lori_cl.tasks.scorers.base import Outcomes, Scorer
from lori_cl.tasks.scorers.pass_at_k import passing

LEAST_ATTAINABLE = 0.5
"""A task whose best attainable score is below this says more about its declaration than about a model."""
PROGRAMS_CHECKED = 16
"""Programs of a task that are run before it is trained: each takes a process of its own, twice."""
FULL = 1 - 1e-6
"""An outcome of this or more is full marks."""


def check_answers(task: Any, examples: Sequence[Example], tokenizer: Any = None) -> list[str]:
    """What limits the score of this eval set, one warning a reason; without a tokenizer, what the text shows.

    Raises: DataError, if labels cannot be distinguished, or no model can reach LEAST_ATTAINABLE.
    """
    kind, scorer = kind_of(task), SCORERS[task.metric]
    warnings = [] if tokenizer is None else kind.label_warnings(task, tokenizer)
    doubt = scorer.doubtful(examples)
    given = [kind.given(task, tokenizer, example) for example in examples]
    limit = _attainable(task, scorer, examples, given)
    return [f"task '{task.name}': {warning}" for warning in (*warnings, doubt, limit) if warning]


def _attainable(task: Any, scorer: Scorer, examples: Sequence[Example], given: Sequence[Given]) -> str | None:
    """A warning where some answers cannot get full marks."""
    outcomes, best = _graded(task, scorer, examples, given)
    lost = [i for i, outcome in enumerate(outcomes.tolist()) if outcome < FULL]
    if not lost:
        return None
    first = lost[0]
    why = given[first].problem or "it is not worth full marks when it is written"
    said = (
        f"{len(lost):,} of {len(examples):,} wanted answers cannot get full marks; the first is row "
        f"{examples[first].id + 1}: {why}"
    )
    if best < LEAST_ATTAINABLE:
        raise DataError(f"task '{task.name}': no model can score above {100 * best:.1f} %: {said}")
    return f"no model can score above {100 * best:.1f} %: {said}"


def _graded(
    task: Any, scorer: Scorer, examples: Sequence[Example], given: Sequence[Given]
) -> tuple[Outcomes, float]:
    """(outcomes, score) of the answers that are given where a model gives the wanted ones."""
    return scorer.attainable(task, [[each.answer] for each in given], examples)


def eval_set_warnings(task: Any, examples: Sequence[Example]) -> list[str]:
    """What makes scores over these examples say little: too few, repeated, of one label, or of two."""
    facts = eval_set_facts([EvalRow.of(task.kind, vars(example)) for example in examples])
    return [f"task '{task.name}': {warning}" for warning in facts.warnings]


def check_programs(task: Any, examples: Sequence[Example]) -> list[str]:
    """Run the reference solutions of the first programs, and the empty ones, contained: warnings.

    Raises: DataError, if no reference solution passes, or every empty completion does.
    """
    checked = examples[:PROGRAMS_CHECKED]
    tidied = [kind_of(task).given(task, None, example).answer for example in checked]
    reference = passing(task, [[answer] for answer in tidied], checked)
    silent = passing(task, [[""] for _ in checked], checked)
    said = f"of the first {len(checked):,} programs"
    failing = [e.id + 1 for e, passes in zip(checked, reference, strict=True) if not passes]
    empty = [e.id + 1 for e, passes in zip(checked, silent, strict=True) if passes]
    warnings = []
    if failing:
        warnings.append(
            f"{len(failing):,} {said} fail with the row's own answer; the first is row {failing[0]}"
        )
    if empty:
        warnings.append(f"{len(empty):,} {said} pass with an empty completion; the first is row {empty[0]}")
    if checked and len(checked) in (len(failing), len(empty)):
        raise DataError(f"task '{task.name}': {'; '.join(warnings)}; correct program, answer or timeout_s")
    return [f"task '{task.name}': {warning}" for warning in warnings]
