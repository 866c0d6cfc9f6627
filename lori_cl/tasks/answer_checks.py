"""Check that the reference answers get full marks: score each as if a model had generated it.

With a tokenizer, a reference answer is encoded, cut at `max_new_tokens`, decoded and cut at a `stop`, like a
generated answer. The score of all of them is the best score that a model can reach. Below LEAST_ATTAINABLE
the task is rejected. If only some answers lose marks, a warning gives their number and the first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lori_cl.errors import DataError
from lori_cl.forgetting.eval_set import EvalRow, eval_set_facts
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds import kind_of
from lori_cl.tasks.kinds.base import ReferenceAnswer
from lori_cl.tasks.scorers import SCORERS
from lori_cl.tasks.scorers.base import Outcomes, Scorer
from lori_cl.tasks.scorers.pass_at_k import passing_completions

LEAST_ATTAINABLE = 0.5
"""A task whose best attainable score is below this value has an error in its declaration."""
PROGRAMS_CHECKED = 16
"""Number of programs of a task to run before training. Each runs twice, in separate processes."""
FULL = 1 - 1e-6
"""Minimum outcome that counts as full marks."""


def check_answers(task: Any, examples: Sequence[Example], tokenizer: Any = None) -> list[str]:
    """Return one warning for each limit of the score of this eval set; without a tokenizer, from texts only.

    Raises: DataError, if labels cannot be distinguished, or no model can reach LEAST_ATTAINABLE.
    """
    kind, scorer = kind_of(task), SCORERS[task.metric]
    warnings = [] if tokenizer is None else kind.label_warnings(task, tokenizer)
    examples_warning = scorer.examples_warning(examples)
    reference_answers = [kind.reference_answer(task, tokenizer, example) for example in examples]
    limit = _attainable(task, scorer, examples, reference_answers)
    return [f"task '{task.name}': {warning}" for warning in (*warnings, examples_warning, limit) if warning]


def _attainable(
    task: Any, scorer: Scorer, examples: Sequence[Example], reference_answers: Sequence[ReferenceAnswer]
) -> str | None:
    """Return a warning if some reference answers cannot get full marks."""
    outcomes, best = _graded(task, scorer, examples, reference_answers)
    lost = [i for i, outcome in enumerate(outcomes.tolist()) if outcome < FULL]
    if not lost:
        return None
    first = lost[0]
    reason = reference_answers[first].problem or "the metric does not give it full marks"
    problem = (
        f"{len(lost):,} of {len(examples):,} reference answers cannot get full marks; the first is row "
        f"{examples[first].id + 1}: {reason}"
    )
    if best < LEAST_ATTAINABLE:
        raise DataError(f"task '{task.name}': no model can score above {100 * best:.1f} %: {problem}")
    return f"no model can score above {100 * best:.1f} %: {problem}"


def _graded(
    task: Any, scorer: Scorer, examples: Sequence[Example], reference_answers: Sequence[ReferenceAnswer]
) -> tuple[Outcomes, float]:
    """Return (outcomes, score) if a model generates the reference answers."""
    return scorer.attainable(task, [[each.answer] for each in reference_answers], examples)


def eval_set_warnings(task: Any, examples: Sequence[Example]) -> list[str]:
    """Return warnings about uninformative scores: few or repeated examples, or only one or two labels."""
    facts = eval_set_facts([EvalRow.of(task.kind, vars(example)) for example in examples])
    return [f"task '{task.name}': {warning}" for warning in facts.warnings]


def check_programs(task: Any, examples: Sequence[Example]) -> list[str]:
    """Run the first programs with reference solutions and with empty completions, contained; return warnings.

    Raises: DataError, if no reference solution passes, or every empty completion passes.
    """
    checked = examples[:PROGRAMS_CHECKED]
    reference_completions = [
        kind_of(task).reference_answer(task, None, example).answer for example in checked
    ]
    reference = passing_completions(task, [[answer] for answer in reference_completions], checked)
    empty_passes = passing_completions(task, [[""] for _ in checked], checked)
    of_programs = f"of the first {len(checked):,} programs"
    failing = [e.id + 1 for e, passes in zip(checked, reference, strict=True) if not passes]
    empty = [e.id + 1 for e, passes in zip(checked, empty_passes, strict=True) if passes]
    warnings = []
    if failing:
        warnings.append(
            f"{len(failing):,} {of_programs} fail with the reference answer; the first is row {failing[0]}"
        )
    if empty:
        warnings.append(
            f"{len(empty):,} {of_programs} pass with an empty completion; the first is row {empty[0]}"
        )
    if checked and len(checked) in (len(failing), len(empty)):
        raise DataError(f"task '{task.name}': {'; '.join(warnings)}; correct program, answer or timeout_s")
    return [f"task '{task.name}': {warning}" for warning in warnings]
