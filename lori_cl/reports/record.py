"""Reports, runs and tasks as JSON values.

Schema 2 of a report. Within a schema, keys are never renamed or removed; new keys may be added:

    schema      2
    run         run_summary(): name, method, seed, status, stages_done, tasks, base, started
    tasks       labels in training order; the columns of every matrix
    views       by view name:
      matrix        scores as fractions; row 0 is the base model, row i the state after stage i;
                    null if a task was not evaluated
      n             number of examples each task is scored on; null if it was never scored
      n_scored      number of examples of every score, less than n on a sample (eval.sample); null if there
                    is none
      distinct      number of distinct inputs among them; null if the eval set's file was not read
      parts         additional metrics of each task's last score as fractions, by name: pass@5, refusal_rate
      truncated     number of truncated examples among them
      source        'measured' or 'cached' for every score; null if there is none
      stderr        standard error of every score; null if unknown
      change        score − score when trained, negative is worse; null before the task was trained
      overall_performance  for every stage: mean over the trained tasks; null if a score is missing
      metrics       acc, bwt, forgetting, learning_accuracy, average_anytime_accuracy, fwt,
                    single_task_gap, retention (compared with runs of the same settings that trained the
                    task first); null if missing
      missing       by metric name: why it is null
      significance  in view 'current', for each earlier task, last stage compared with its own:
                    task, change, test, p_value, n, worsened, improved
    general_abilities  only with eval.also, for each of its tasks: task, metric, n; by stage, the first is the
                base model: scores, stderr, source, change (since the base model); significance of the last
                change
    warnings    reasons why scores over the eval sets are of limited use, one line each
    capacity    Capacity.to_record(): cells, free, by_task, by_site, density, cells_per_task, more_tasks
                (null if there is no limit); null for a method without masks
    seed_statistics  only in a report of several runs, for a run with others that differ from it only in seed
                or task order:
      name, runs, seeds    the group: its method, and each run's name and seed
      views       by view and metric: mean, seed_std, order_std (null if there is one seed or order), orders,
                  n (runs)
      comparisons paired comparisons of this group with others: a, b (names), and by view and metric the
                  difference a − b, t_p_value, wilcoxon_p_value (null if undefined), n (pairs)
    lineage     base, projection, stages (digests, seeds, examples, times, memory, environment: null if it is
                that of the run), data (source and eval set of every task), environment, curriculum



docs/operations.md lists the keys of schema 1 that have other names here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from lori_cl.registry import Run, RunSummary, ScoredStage, Stage, Task
from lori_cl.reports.report import Change, GeneralAbility, RunReport, ViewReport, number
from lori_cl.reports.seed_statistics import seed_statistics

SCHEMA = 2


def to_record(report: RunReport) -> dict[str, Any]:
    """Return a report as JSON values, in the schema above."""
    general = [_general(ability) for ability in report.general]
    return {
        "schema": SCHEMA,
        "run": run_summary(report.run),
        "tasks": list(report.tasks),
        "views": {view.name: _view(view) for view in report.views},
        **({"general_abilities": general} if general else {}),
        "warnings": list(report.warnings),
        "capacity": report.capacity.to_record() if report.capacity else None,
        "lineage": lineage(report.run),
    }


def _general(ability: GeneralAbility) -> dict[str, Any]:
    """Return the scores of a task of `eval.also`, from the base model to the last stage."""
    return {
        "task": ability.task,
        "metric": ability.metric,
        "n": ability.n,
        "scores": [None if cell is None else cell.score for cell in ability.cells],
        "stderr": [None if cell is None else number(cell.stderr) for cell in ability.cells],
        "source": [None if cell is None else cell.source for cell in ability.cells],
        "change": [ability.change_at(stage) for stage in range(len(ability.cells))],
        "significance": None if ability.change is None else _change(ability.change),
    }


def to_records(reports: Sequence[RunReport]) -> list[dict[str, Any]]:
    """Return the reports as JSON values, with the statistics over seeds and task orders."""
    statistics = seed_statistics(reports)
    found = ((report, statistics.of_run(report.run.name)) for report in reports)
    return [
        to_record(report) | ({} if of_run is None else {"seed_statistics": of_run})
        for report, of_run in found
    ]


def run_summary(run: Run | RunSummary) -> dict[str, Any]:
    """Return the record of a run in a list of runs."""
    return {
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "status": run.status,
        "stages_done": run.stages_done,
        "tasks": list(run.task_labels),
        "base": _base(run),
        "started": run.created_at.isoformat(),
    }


def run_record(run: Run, held_back: ScoredStage | None) -> dict[str, Any]:
    """Return the record of one run with its stages and lineage; `held_back` is its held-back stage."""
    stage = held_back and {
        "position": held_back.stage.position,
        "task": held_back.stage.task,
        "reason": held_back.why,
    }
    return {**run_summary(run), **lineage(run), "held_back": stage}


def task_record(task: Task) -> dict[str, Any]:
    """Return the record of one version of a task."""
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
    """Return the inputs of a run with their digests, seeds and versions."""
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
    environment = None if stage.environment == run.environment else stage.environment
    seeds = dict(stage.seeds)
    return {**asdict(stage), "seeds": seeds, "committed_at": committed, "environment": environment}


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
        "n_scored": [[None if cell is None else cell.n for cell in row] for row in matrix.cells],
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
