"""Check that every score exists, follows from its answers, and was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lori_cl.errors import VerificationError
from lori_cl.evaluation.evaluator import BASE_VIEW
from lori_cl.evaluation.routed_view import ROUTING_ACCURACY
from lori_cl.forgetting.subset import is_sampled
from lori_cl.methods.verification import expect
from lori_cl.registry import Evaluation, Task
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.spec import View, task_from_record
from lori_cl.tasks import SCORERS, Example, Grade, Scorer, random_subset
from lori_cl.tasks.scorers.base import mean_grade, plain_error

SAME = 1e-9
"""Tolerance for two sums over the same numbers: another CPU may add them in another order."""


@dataclass(frozen=True)
class ScoredAnswer:
    """The content of an answers file."""

    outcomes: Sequence[float]
    """The recorded outcomes."""
    grade: Grade
    """The grade computed from the answers now."""


def eval_sets(evidence: Evidence) -> str:
    """Check that every eval set contains the registered number of examples."""
    for task in evidence.run.scored_tasks:
        examples = evidence.eval_sets[task.label]
        where, file = evidence.at_task(task.label), f"its eval set {task.eval_set.digest}"
        expect(where, f"the number of examples in {file}", len(examples), task.eval_set.n)
    return f"{len(evidence.run.scored_tasks)}, each with the registered number of examples"


def matrix(evidence: Evidence) -> str:
    """Check that the score matrix is complete, and has no view that the curriculum does not name.

    Every trained task needs a score of the base model, and, from its stage on, one per stage and view. Every
    task of `eval.also` needs one of the base model, and one per stage in the view `current`.
    """
    existing = {(e.stage, e.task, e.view) for e in evidence.evaluations}
    views, learned = evidence.curriculum.eval.views, [stage.task for stage in evidence.run.stages]
    required = {(0, task, BASE_VIEW) for task in learned} | {
        (stage, task, str(view))
        for stage in range(1, len(learned) + 1)
        for task in learned[:stage]
        for view in views
    }
    also = {task.label for task in evidence.run.also} if learned else set()
    required |= {(0, task, BASE_VIEW) for task in also}
    required |= {(stage, task, str(View.CURRENT)) for stage in range(1, len(learned) + 1) for task in also}
    for stage, task, view in sorted(required - existing):
        raise VerificationError(f"{evidence.at(stage)}: the score of {task} under {view} is missing")
    for stage, task, view in sorted(existing):
        allowed = {View.CURRENT} if task in also else {*views, View.ROUTED}  # `lori-cl route` adds the last
        if stage and view not in allowed:
            named = ", ".join(views)
            raise VerificationError(
                f"{evidence.at(stage)}: {task} has a score under {view}, and eval.views are {named}"
            )
    return f"{len(required):,} required scores, {len(existing - required):,} others"


def scores(evidence: Evidence) -> str:
    """Check every score, standard error and part against the answers, example by example."""
    tasks = {task.label: task for task in evidence.run.scored_tasks}
    own_stage = {task.label: position for position, task in enumerate(evidence.run.tasks, start=1)}
    read: dict[tuple[str, str], ScoredAnswer] = {}
    for score in evidence.evaluations:
        where = f"{evidence.at(score.stage)}, {score.task} under {score.view}"
        own = own_stage.get(score.task)  # None for a task of eval.also
        may_sample = own is not None and is_sampled(score.view, score.stage, own, len(own_stage))
        sample = evidence.curriculum.eval.sample if may_sample else None
        if (score.answers, score.task) not in read:
            read[score.answers, score.task] = _answered(evidence, tasks[score.task], score.answers, sample)
        _check_score(where, score, tasks[score.task], read[score.answers, score.task])
    counts = f"{len(evidence.evaluations):,} over {len(read):,} sets of answers"
    return f"{counts}, each equal to the score of the answers"


def cached_scores(evidence: Evidence) -> str:
    """Check that every cached score equals a measured score with the same input digest and answers."""
    cached = [score for score in evidence.evaluations if score.source != "measured"]
    for score in cached:
        where = f"{evidence.at(score.stage)}, {score.task} under {score.view}"
        measured = evidence.registry.measured_scores(score.input_digest)
        if not measured:
            raise VerificationError(
                f"{where}: cached, but no score was measured with inputs {score.input_digest}"
            )
        same: dict[str, Any] = {
            "stage": score.stage,
            "task": score.task,
            "view": score.view,
            "source": "cached",
        }
        expected = [replace(each, **same, elapsed_s=0.0) for each in measured]
        # A score is measured again if the answers of an earlier measurement were lost.
        for field, value in () if score in expected else vars(expected[0]).items():
            expect(
                where,
                f"{field} where its inputs {score.input_digest} were measured",
                value,
                getattr(score, field),
            )
    return f"{len(cached):,} cached scores, each equal to the measured score of the same inputs"


def _answered(evidence: Evidence, task: Task, answers: str, sample: int | None) -> ScoredAnswer:
    spec: Any = task_from_record(task.spec)
    limit = evidence.curriculum.eval.limit
    examples = random_subset(evidence.eval_sets[task.label], limit, task.seed)
    lines = [
        json.loads(line) for line in evidence.artifacts.get(answers, "jsonl").decode().split("\n") if line
    ]
    if len(lines) < len(examples):
        examples = random_subset(examples, sample, task.seed)
    ids = [example.id for example in examples]
    expect(f"task {task.label}", f"the examples in {answers}", [line["id"] for line in lines], ids)
    outcomes, scorer = [line["outcome"] for line in lines], SCORERS[task.metric]
    if not _is_graded_again(scorer, spec):
        grade = mean_grade(np.array(outcomes), examples)
        grade = replace(grade, parts={f"pass@{spec.pass_at[0]}": grade.score} if scorer.runs_code else {})
    else:
        answered = [line.get("answers", [line.get("answer")]) for line in lines]
        grade = _grade(scorer, spec, answered, examples, outcomes)
    right = [line["sent_to"] == task.label for line in lines if "sent_to" in line]
    routing = {ROUTING_ACCURACY: sum(right) / len(right)} if right else {}
    return ScoredAnswer(outcomes, replace(grade, parts={**grade.parts, **routing}))


def _is_graded_again(scorer: Scorer, spec: Any) -> bool:
    """Whether verify grades the answers: it runs neither model-generated programs nor the code of tasks."""
    return not scorer.runs_code and scorer.trust_reason(spec) is None


def _grade(
    scorer: Scorer,
    spec: Any,
    answers: Sequence[Sequence[str]],
    examples: Sequence[Example],
    outcomes: Sequence[float],
) -> Grade:
    """Grade the answers; use an earlier version of the metric if the outcomes were recorded with it."""
    grade = scorer.grade(spec, answers, examples)
    for version in scorer.earlier_versions():
        if all(map(_same, grade.outcomes.tolist(), outcomes)):
            break
        earlier = version.grade(spec, answers, examples)
        if all(map(_same, earlier.outcomes.tolist(), outcomes)):
            return earlier
    return grade


def _check_score(where: str, score: Evaluation, task: Task, found: ScoredAnswer) -> None:
    scorer, grade, file = SCORERS[task.metric], found.grade, f"the answers in {score.answers}"
    expect(where, "its metric", task.metric, score.metric)
    expect(where, f"the number of {file}", len(found.outcomes), score.n)
    expect(where, "the number of its outcomes", len(score.outcomes), score.n)
    _expect_outcomes(where, f"next to {file}", found.outcomes, score.outcomes)
    _expect_outcomes(where, f"of {file}", grade.outcomes.tolist(), score.outcomes)
    _expect_close(where, f"{score.metric} of {file}", grade.score, score.score)
    # Earlier versions computed the standard error over all rows, including repeated inputs.
    over_rows = plain_error(grade.outcomes)
    recorded = score.stderr
    recorded_over_rows = over_rows is not None and recorded is not None and _same(over_rows, recorded)
    if not scorer.resamples and not recorded_over_rows:
        _expect_close(where, f"the standard error of {file}", grade.stderr, score.stderr)
    parts = {**(score.parts if scorer.runs_code else {}), **grade.parts}
    expect(where, "the names of its parts", sorted(parts), sorted(score.parts))
    for name, value in parts.items():
        _expect_close(where, f"{name} of {file}", value, score.parts[name])


def _expect_outcomes(where: str, what: str, found: Sequence[float], recorded: Sequence[float]) -> None:
    differing = [
        i for i, (one, other) in enumerate(zip(found, recorded, strict=True)) if not _same(one, other)
    ]
    for i in differing[:1]:
        raise VerificationError(
            f"{where}: {len(differing):,} of the {len(found):,} outcomes {what} differ; number {i + 1} is "
            f"{found[i]}, and the registry says {recorded[i]}"
        )


def _expect_close(where: str, what: str, found: float | None, recorded: float | None) -> None:
    if found is None or recorded is None or not _same(found, recorded):
        expect(where, what, found, recorded)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)
