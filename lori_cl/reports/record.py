"""Reports, runs and tasks as JSON values.

Schema 1 of a report; a key is never renamed or removed within a schema, new ones may be added:

    schema      1
    run         run_summary(): name, method, seed, status, stages_done, tasks, base, begun
    tasks       labels in the order of learning; the columns of every matrix
    views       by view's name:
      matrix        scores as fractions; row 0 is the base model, row i the state after stage i;
                    null where a task was not evaluated
      n             examples each task is scored on; null where it never was
      distinct      different inputs among them; null where the eval set's file was not read
      parts         further numbers of each task's last score as fractions, by name: pass@5, refusal_rate
      truncated     how many of them were too long to be read whole
      source        'measured' or 'proved' for every score; null where there is none
      stderr        standard error of every score; null where unknown
      change        score − score when learned, negative is worse; null before the task was learned
      overall_performance  for every stage: mean over the tasks learned so far; null if one is missing
      metrics       acc, bwt, forgetting, learning_accuracy, average_anytime_accuracy, fwt,
                    single_task_gap, retention (against runs of the same settings that learned the task
                    first); null if missing
      missing       by metric's name: why it is null
      significance  of view 'current', for each earlier task, last stage against its own:
                    task, change, test, p_value, n, worsened, improved
    warnings    what makes scores over the eval sets say little, one line each
    capacity    Capacity.to_record(): cells, free, by_task, by_site, density, cells_per_task, more_tasks
                (null where nothing sets a limit); null for a method without masks
    lineage     base, projection, stages (digests, seeds, examples, times, memory, environment: null where it
                is the run's), data (of every task its source and eval set), environment, curriculum
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lori_cl.registry import Run, RunSummary, SetAside, Stage, Task
from lori_cl.reports.report import Change, RunReport, ViewReport, number

SCHEMA = 1


def to_record(report: RunReport) -> dict[str, Any]:
    """A report as JSON values, in the schema above."""
    return {
        "schema": SCHEMA,
        "run": run_summary(report.run),
        "tasks": list(report.tasks),
        "views": {view.name: _view(view) for view in report.views},
        "warnings": list(report.warnings),
        "capacity": report.capacity.to_record() if report.capacity else None,
        "lineage": lineage(report.run),
    }


def run_summary(run: Run | RunSummary) -> dict[str, Any]:
    """A run in a list of runs."""
    return {
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "status": run.status,
        "stages_done": run.stages_done,
        "tasks": list(run.task_labels),
        "base": _base(run),
        "begun": run.created_at.isoformat(),
    }


def run_record(run: Run, aside: SetAside | None) -> dict[str, Any]:
    """One run with its stages and lineage; `set_aside` is the stage that was learned and not accepted."""
    kept = {"position": aside.stage.position, "task": aside.stage.task, "why": aside.why} if aside else None
    return {**run_summary(run), **lineage(run), "set_aside": kept}


def task_record(task: Task) -> dict[str, Any]:
    """A version of a task."""
    return {
        "name": task.name,
        "version": task.version,
        "label": task.label,
        "kind": task.kind,
        "metric": task.metric,
        "seed": task.seed,
        "eval_set": _eval_set(task),
        "declared_in": task.declared_in,
        "added": task.created_at.isoformat(),
        "spec": dict(task.spec),
    }


def lineage(run: Run) -> dict[str, Any]:
    """What the run was made from, by digest, seed and version."""
    return {
        "base": _base(run),
        "projection": _projection(run),
        "stages": [_stage(run, stage) for stage in run.stages],
        "data": [_data(task) for task in run.tasks],
        "environment": dict(run.environment),
        "curriculum": dict(run.curriculum),
    }


def _base(run: Run | RunSummary) -> dict[str, Any]:
    return {"path": run.base_path, "revision": run.base_revision, "digest": run.base_digest}


def _projection(run: Run) -> dict[str, Any] | None:
    if run.projection is None:
        return None
    fields = asdict(run.projection)
    return {**fields, "sites": {name: list(shape) for name, shape in run.projection.sites.items()}}


def _stage(run: Run, stage: Stage) -> dict[str, Any]:
    committed = stage.committed_at.isoformat() if stage.committed_at else None
    own = None if stage.environment == run.environment else stage.environment
    return {**asdict(stage), "seeds": dict(stage.seeds), "committed_at": committed, "environment": own}


def _data(task: Task) -> dict[str, Any]:
    return {
        "task": task.label,
        "source": task.spec.get("source"),
        "train": task.spec.get("train"),
        "eval": task.spec.get("eval"),
        "eval_set": _eval_set(task),
    }


def _eval_set(task: Task) -> dict[str, Any]:
    return {"digest": task.eval_set.digest, "n": task.eval_set.n}


def _view(view: ViewReport) -> dict[str, Any]:
    matrix = view.matrix
    return {
        "matrix": _numbers(matrix.scores),
        "n": list(view.n),
        "distinct": list(view.distinct) or None,
        "parts": [dict(parts) for parts in view.parts],
        "truncated": list(view.truncated),
        "source": [list(row) for row in matrix.source],
        "stderr": _numbers(matrix.stderr),
        "change": _numbers(matrix.change_since_learned()),
        "overall_performance": [row.overall for row in view.rows()[1:]],
        "metrics": {metric.name: metric.value for metric in view.metrics},
        "missing": {metric.name: metric.missing for metric in view.metrics if metric.missing},
        "significance": [_change(change) for change in view.changes],
    }


def _numbers(rows: Iterable[Iterable[float]]) -> list[list[float | None]]:
    return [[number(value) for value in row] for row in rows]


def _change(change: Change) -> dict[str, Any]:
    test = change.test
    return {
        "task": change.task,
        "change": change.score,
        "test": test.name if test else None,
        "p_value": test.p_value if test else None,
        "n": test.n if test else None,
        "worsened": test.worsened if test else None,
        "improved": test.improved if test else None,
    }
