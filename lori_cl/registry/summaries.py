"""Queries over all runs that read only the needed columns, because there can be thousands of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lori_cl.registry.records import Run, RunSummary, ScoreTime, StageTime, task_label
from lori_cl.registry.tables import EnvironmentRow, EvaluationRow, RunRow, RunTaskRow, StageRow, TaskRow

RUNS_PER_QUERY = 1_000
"""Databases limit the number of parameters of a query."""

IsAlike = Callable[[Mapping[str, Any]], bool]


def run_summaries(session: Session) -> list[RunSummary]:
    """Return a summary of every run, in the order of their start."""
    labels, planned = task_labels(session), defaultdict(list)
    ordered = select(RunTaskRow.run_id, RunTaskRow.task_id).order_by(RunTaskRow.run_id, RunTaskRow.position)
    for run_id, task_id in session.execute(ordered):
        planned[run_id].append(labels[task_id])
    counted = select(StageRow.run_id, func.count()).group_by(StageRow.run_id)
    done = dict(session.execute(counted).tuples().all())
    base = (RunRow.base_path, RunRow.base_revision, RunRow.base_digest)
    runs = select(RunRow.id, RunRow.name, RunRow.method, RunRow.seed, *base, RunRow.created_at)

    def summary(id: int, **columns: Any) -> RunSummary:
        return RunSummary(**columns, task_labels=tuple(planned[id]), stages_done=done.get(id, 0))

    return [summary(**row) for row in session.execute(runs.order_by(RunRow.id)).mappings()]


def first_stage_scores(session: Session, like: Run, is_alike: IsAlike) -> dict[str, float]:
    """Return the newest first-stage score by task; see `Registry.first_stage_scores`."""
    same = (RunRow.base_digest == like.base_digest, RunRow.method == like.method, RunRow.seed == like.seed)
    candidates = session.execute(select(RunRow.id, RunRow.curriculum).where(*same).order_by(RunRow.id))
    alike = [run_id for run_id, curriculum in candidates if is_alike(curriculum)]
    labels = task_labels(session)
    found: list[tuple[int, int, int, float]] = []
    for begin in range(0, len(alike), RUNS_PER_QUERY):
        found += _scores(session, alike[begin : begin + RUNS_PER_QUERY])
    return {labels[task_id]: score for _, _, task_id, score in sorted(found)}


def _scores(session: Session, run_ids: Sequence[int]) -> Iterator[tuple[int, int, int, float]]:
    """Yield (run, evaluation, task, score) of the first tasks of these runs.

    Two queries by run use indexes; for a join, SQLite would read every evaluation.
    """
    first = select(RunTaskRow.run_id, RunTaskRow.task_id).where(
        RunTaskRow.run_id.in_(run_ids), RunTaskRow.position == 1
    )
    scored = select(EvaluationRow.run_id, EvaluationRow.id, EvaluationRow.task_id, EvaluationRow.score).where(
        EvaluationRow.run_id.in_(run_ids), EvaluationRow.stage == 1
    )
    first_task = dict(session.execute(first).tuples().all())
    for run_id, row, task_id, score in session.execute(scored):
        if first_task[run_id] == task_id:
            yield run_id, row, task_id, score


def recorded_times(session: Session, base_digest: str) -> tuple[list[StageTime], list[ScoreTime]]:
    """Return the times of all stages and measured scores of runs with this base model, oldest first."""
    labels = task_labels(session)
    stages = session.execute(
        select(RunRow.name, StageRow.task_id, RunRow.curriculum, StageRow.steps, StageRow.train_s)
        .add_columns(func.coalesce(StageRow.environment_id, RunRow.environment_id))
        .join(RunRow, RunRow.id == StageRow.run_id)
        .where(RunRow.base_digest == base_digest)
        .order_by(StageRow.id)
    ).all()
    scores = session.execute(
        select(RunRow.environment_id, EvaluationRow.task_id, EvaluationRow.n, EvaluationRow.elapsed_s)
        .join(RunRow, RunRow.id == EvaluationRow.run_id)
        .where(RunRow.base_digest == base_digest, EvaluationRow.source == "measured")
        .order_by(EvaluationRow.id)
    ).all()
    found = session.execute(select(EnvironmentRow.id, EnvironmentRow.values)).tuples().all()
    environments: dict[int, Mapping[str, Any]] = dict(found)
    return (
        [
            StageTime(run, labels[task], curriculum, steps, train_s, environments[environment])
            for run, task, curriculum, steps, train_s, environment in stages
        ],
        [ScoreTime(labels[task], n, seconds, environments[id]) for id, task, n, seconds in scores],
    )


def task_labels(session: Session) -> dict[int, str]:
    """Return every task's label, by row id."""
    found = session.execute(select(TaskRow.id, TaskRow.name, TaskRow.version))
    return {row: task_label(name, version) for row, name, version in found}
