"""Build a report from the registry. Everything is computed here; formats only render."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lori_cl.forgetting import Cell, ForgettingMatrix, all_metrics, paired_test
from lori_cl.forgetting.eval_set import EvalSetFacts
from lori_cl.registry import ArtifactStore, Evaluation, Registry, Run, Task
from lori_cl.reports.capacity import capacity_of
from lori_cl.reports.eval_sets import facts_by_task
from lori_cl.reports.report import Change, GeneralAbility, RunReport, ViewReport, number
from lori_cl.reports.routing import ROUTED

CURRENT = "current"  # lori_cl.spec's View.CURRENT; importing it (pydantic) would slow every report

Scored = Mapping[tuple[int, int], Evaluation]
"""By (stage, task index from 0)."""


def gather(registry: Registry, run_name: str, artifacts: ArtifactStore | None = None) -> RunReport:
    """Build the report of one run, finished or not.

    With `artifacts`, repeated inputs of the eval sets count once in tests, and are reported.
    Raises: UnknownRun.
    """
    run = registry.run(run_name)
    evaluations = registry.evaluations(run_name)
    single = _single_task_scores(registry, run)
    facts = {} if artifacts is None else facts_by_task(run, artifacts)
    views = tuple(_view(run, view, evaluations, single, facts) for view in _views(run, evaluations))
    warnings = [f"{task}: {warning}" for task, of_task in facts.items() for warning in of_task.warnings]
    general = tuple(_general(run, task, evaluations, facts.get(task.label)) for task in run.also)
    return RunReport(run, views, capacity_of(run), tuple(warnings), general)


def _general(
    run: Run, task: Task, evaluations: Sequence[Evaluation], facts: EvalSetFacts | None
) -> GeneralAbility:
    """Compare a task that is never trained with its score of the base model."""
    own = {e.stage: e for e in evaluations if e.task == task.label and e.stage <= len(run.stages)}
    cells = tuple(_cell(own[i]) if i in own else None for i in range(len(run.stages) + 1))
    first, last = own.get(0), own.get(len(run.stages))
    change = None
    if first is not None and last is not None and run.stages:
        change = _change(task.label, last.score - first.score, first, last, facts)
    n = max((e.n for e in own.values()), default=None)
    return GeneralAbility(task.label, task.metric, n, cells, change)


def _views(run: Run, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the views of the curriculum, and `routed` if the run was scored under it later."""
    named = [str(view) for view in run.curriculum["eval"]["views"]]
    routed = any(e.view == ROUTED and e.stage <= len(run.stages) for e in evaluations)
    return [*named, ROUTED] if routed and ROUTED not in named else named


def _single_task_scores(registry: Registry, run: Run) -> dict[str, float]:
    """Return, by task, its score in a run with the same settings that trained it first."""
    settings = comparable(run.curriculum)
    return registry.first_stage_scores(run, lambda curriculum: comparable(curriculum) == settings)


def comparable(curriculum: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that must be equal for scores of two runs on one base model to be comparable."""
    settings = {key: value for key, value in curriculum.items() if key not in {"name", "tasks", "model"}}
    return {**settings, "eval": {**settings["eval"], "views": None, "also": None}}


def _view(
    run: Run,
    view: str,
    evaluations: Sequence[Evaluation],
    single: Mapping[str, float],
    facts: Mapping[str, EvalSetFacts],
) -> ViewReport:
    scored = _scored(run, view, evaluations)
    tasks, stages = [task.label for task in run.tasks], len(run.stages)
    matrix = ForgettingMatrix.from_cells(tasks, view, stages, {at: _cell(e) for at, e in scored.items()})
    changes = _changes(matrix, scored, facts) if view == CURRENT else ()
    # In stage order, so that the last stage wins.
    last = {j: e for (_, j), e in sorted(scored.items(), key=lambda item: item[0])}
    return ViewReport(
        matrix=matrix,
        metrics=all_metrics(matrix, single),
        changes=changes,
        truncated=tuple(last[j].n_truncated if j in last else 0 for j in range(len(tasks))),
        distinct=tuple(facts[task].distinct if task in facts else None for task in tasks),
        parts=tuple(last[j].parts if j in last else {} for j in range(len(tasks))),
    )


def _scored(run: Run, view: str, evaluations: Sequence[Evaluation]) -> Scored:
    """Return the scores under a view. Row 0 (the base model) belongs to every view."""
    column = {task.label: j for j, task in enumerate(run.tasks)}
    # A run in progress may commit a stage after the run was read and before its scores are read.
    return {
        (e.stage, column[e.task]): e
        for e in evaluations
        if (e.view == view or e.stage == 0) and e.stage <= len(run.stages) and e.task in column
    }


def _cell(evaluation: Evaluation) -> Cell:
    stderr = math.nan if evaluation.stderr is None else evaluation.stderr
    return Cell(evaluation.score, evaluation.n, stderr, evaluation.source)


def _changes(
    matrix: ForgettingMatrix, scored: Scored, facts: Mapping[str, EvalSetFacts]
) -> tuple[Change, ...]:
    """Compare every earlier task's last stage with its own, if the task was scored at both."""
    last, since = matrix.stages, matrix.change_since_learned()
    change_by_task = ((j, number(since[last, j])) for j in range(last - 1))
    return tuple(
        _change(matrix.tasks[j], change, scored[j + 1, j], scored[last, j], facts.get(matrix.tasks[j]))
        for j, change in change_by_task
        if change is not None
    )


def _change(
    task: str, change: float, before: Evaluation, after: Evaluation, facts: EvalSetFacts | None
) -> Change:
    if not len(before.outcomes) == len(after.outcomes) > 0:
        return Change(task, change, None)
    groups = facts.groups if facts is not None and facts.n == len(after.outcomes) else None
    return Change(task, change, paired_test(before.outcomes, after.outcomes, groups=groups))
