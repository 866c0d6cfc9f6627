"""Whether every score is there, is what its answers are worth, and was measured somewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lori_cl.errors import Untruth
from lori_cl.registry import Evaluation, Task
from lori_cl.serving.checks.evidence import Evidence, expect
from lori_cl.spec import View, task_from_record
from lori_cl.tasks import SCORERS, Example, Grade, Scorer, drawn
from lori_cl.tasks.scorers.base import mean_grade, plain_error
from lori_cl.training.examiner import BASE_VIEW
from lori_cl.training.routed import ROUTING_ACCURACY

SAME = 1e-9
"""Relative difference of two sums over the same numbers: another CPU adds them up in another order."""


@dataclass(frozen=True)
class Answered:
    """What stands in an answers file."""

    outcomes: Sequence[float]
    """As they were written down."""
    grade: Grade
    """What the answers are worth now."""


def eval_sets(evidence: Evidence) -> str:
    """Every eval set holds as many examples as the registry says."""
    for position, task in enumerate(evidence.run.tasks, start=1):
        examples = evidence.eval_sets[task.label]
        where, file = f"stage {position} {task.label}", f"its eval set {task.eval_set.digest}"
        expect(where, f"the number of examples in {file}", len(examples), task.eval_set.n)
    return f"{len(evidence.run.tasks)}, each with as many examples as are registered"


def matrix(evidence: Evidence) -> str:
    """Every learned task has a score by the base model, and after each of its stages one under every view;
    none is under a view that the curriculum does not name."""
    there = {(e.stage, e.task, e.view) for e in evidence.evaluations}
    views, learned = evidence.curriculum.eval.views, [stage.task for stage in evidence.run.stages]
    wanted = {(0, task, BASE_VIEW) for task in learned} | {
        (stage, task, str(view))
        for stage in range(1, len(learned) + 1)
        for task in learned[:stage]
        for view in views
    }
    for stage, task, view in sorted(wanted - there):
        raise Untruth(f"{evidence.at(stage)}: the score of {task} under {view} is not there")
    for stage, task, view in sorted(there):
        if stage and view not in {*views, View.ROUTED}:  # which `lori-cl route` adds
            named = ", ".join(views)
            raise Untruth(
                f"{evidence.at(stage)}: {task} has a score under {view}, and eval.views are {named}"
            )
    return f"{len(wanted):,} scores that must be there, and {len(there - wanted):,} others"


def scores(evidence: Evidence) -> str:
    """Every score, standard error and part is what its answers are worth, example by example."""
    tasks = {task.label: task for task in evidence.run.tasks}
    read: dict[tuple[str, str], Answered] = {}
    for score in evidence.evaluations:
        where = f"{evidence.at(score.stage)}, {score.task} under {score.view}"
        if (score.answers, score.task) not in read:
            read[score.answers, score.task] = _answered(evidence, tasks[score.task], score.answers)
        _check_score(where, score, tasks[score.task], read[score.answers, score.task])
    return f"{len(evidence.evaluations):,} over {len(read):,} sets of answers, each what they are worth"


def proofs(evidence: Evidence) -> str:
    """Every proved score has a measured one on inputs of the same digest, with the same answers."""
    proved = [score for score in evidence.evaluations if score.source != "measured"]
    for score in proved:
        where = f"{evidence.at(score.stage)}, {score.task} under {score.view}"
        measured = evidence.registry.measured_scores(score.input_digest)
        if not measured:
            raise Untruth(
                f"{where}: {score.source} by inputs {score.input_digest}, which nothing was measured on"
            )
        same: dict[str, Any] = {
            "stage": score.stage,
            "task": score.task,
            "view": score.view,
            "source": "proved",
        }
        made = [replace(each, **same, elapsed_s=0.0) for each in measured]
        # A score is measured again where the answers of an earlier one were lost.
        for field, value in () if score in made else vars(made[0]).items():
            expect(
                where,
                f"{field} where its inputs {score.input_digest} were measured",
                value,
                getattr(score, field),
            )
    return f"{len(proved):,} proved scores, each equal to the measured one of the same inputs"


def _answered(evidence: Evidence, task: Task, answers: str) -> Answered:
    spec: Any = task_from_record(task.spec)
    limit = evidence.curriculum.eval.limit
    examples = drawn(evidence.eval_sets[task.label], limit, task.seed)
    lines = [
        json.loads(line) for line in evidence.artifacts.get(answers, "jsonl").decode().split("\n") if line
    ]
    ids = [example.id for example in examples]
    expect(f"task {task.label}", f"the examples in {answers}", [line["id"] for line in lines], ids)
    outcomes, scorer = [line["outcome"] for line in lines], SCORERS[task.metric]
    if scorer.runs_code:  # only to be looked at, what a model wrote is not run again
        grade = mean_grade(np.array(outcomes), examples)
        grade = replace(grade, parts={f"pass@{spec.pass_at[0]}": grade.score})
    else:
        answered = [line.get("answers", [line.get("answer")]) for line in lines]
        grade = _grade(scorer, spec, answered, examples, outcomes)
    right = [line["sent_to"] == task.label for line in lines if "sent_to" in line]
    routing = {ROUTING_ACCURACY: sum(right) / len(right)} if right else {}
    return Answered(outcomes, replace(grade, parts={**grade.parts, **routing}))


def _grade(
    scorer: Scorer,
    spec: Any,
    answers: Sequence[Sequence[str]],
    examples: Sequence[Example],
    outcomes: Sequence[float],
) -> Grade:
    """What the answers are worth; by the metric's earlier rules where the outcomes were recorded by them."""
    grade = scorer.grade(spec, answers, examples)
    for version in scorer.earlier_versions():
        if all(map(_same, grade.outcomes.tolist(), outcomes)):
            break
        earlier = version.grade(spec, answers, examples)
        if all(map(_same, earlier.outcomes.tolist(), outcomes)):
            return earlier
    return grade


def _check_score(where: str, score: Evaluation, task: Task, found: Answered) -> None:
    scorer, grade, file = SCORERS[task.metric], found.grade, f"the answers in {score.answers}"
    expect(where, "its metric", task.metric, score.metric)
    expect(where, f"the number of {file}", len(found.outcomes), score.n)
    expect(where, "the number of its outcomes", len(score.outcomes), score.n)
    _expect_outcomes(where, f"beside {file}", found.outcomes, score.outcomes)
    _expect_outcomes(where, f"of {file}", grade.outcomes.tolist(), score.outcomes)
    _expect_close(where, f"{score.metric} of {file}", grade.score, score.score)
    # Earlier versions took the standard error over all rows, also where inputs are repeated.
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
        raise Untruth(
            f"{where}: {len(differing):,} of the {len(found):,} outcomes {what} differ; number {i + 1} is "
            f"{found[i]}, and the registry says {recorded[i]}"
        )


def _expect_close(where: str, what: str, found: float | None, recorded: float | None) -> None:
    if found is None or recorded is None or not _same(found, recorded):
        expect(where, what, found, recorded)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)
