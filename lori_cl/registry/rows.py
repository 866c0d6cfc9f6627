"""Conversion between rows and records. A column and a field with the same name hold the same value."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import object_session

from lori_cl.registry.records import (
    EvalSet,
    Evaluation,
    MaskRecord,
    Projection,
    Run,
    Stage,
    StatisticsRecord,
    Task,
    task_label,
)
from lori_cl.registry.tables import (
    Base,
    EnvironmentRow,
    EvaluationRow,
    MaskRow,
    ProjectionRow,
    RunRow,
    StageRow,
    TaskRow,
    TaskStatisticsRow,
    now,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
Row = TypeVar("Row", bound=Base)


def record_of(kind: type[Record], row: Base, **others: Any) -> Record:
    """Create a record from the columns of a row; `others` are the fields that are not a column's value."""
    same = {field.name for field in fields(kind)} - others.keys()
    return kind(**{name: getattr(row, name) for name in same}, **others)


def row_of(kind: type[Row], record: DataclassInstance, **others: Any) -> Row:
    """Create a row from the fields of a record; `others` are the columns that are not a field's value."""
    same = {field.name for field in fields(record)} & set(kind.__table__.columns.keys()) - others.keys()
    return kind(**{name: getattr(record, name) for name in same}, **others)


def label(row: TaskRow) -> str:
    """Return the label of a task."""
    return task_label(row.name, row.version)


def task(row: TaskRow) -> Task:
    """Convert a task row."""
    return record_of(Task, row, eval_set=EvalSet(row.eval_set.artifact, row.eval_set.n))


def run(row: RunRow) -> Run:
    """Convert a run row, with its tasks and stages."""
    return record_of(
        Run,
        row,
        tasks=tuple(task(item.task) for item in row.tasks),
        stages=tuple(stage(item) for item in row.stages),
        also=tuple(task(item) for item in also_rows(row)),
        projection=None if row.projection is None else projection(row.projection),
        environment=row.environment.values,
    )


def also_rows(row: RunRow) -> list[TaskRow]:
    """Return the tasks that a run scores and does not train: `eval.also` names each as NAME@VERSION."""
    session, found = object_session(row), []
    pinned = (row.curriculum.get("eval") or {}).get("also") or ()
    for name, _, version in (each.rpartition("@") for each in pinned):
        assert session is not None, "a run is converted in its session"
        named = select(TaskRow).where(TaskRow.name == name, TaskRow.version == int(version))
        found.append(session.scalars(named).one())
    return found


def projection(row: ProjectionRow) -> Projection:
    """Convert a projection row."""
    sites = {name: (out, in_features) for name, (out, in_features) in row.sites.items()}
    return record_of(Projection, row, sites=sites)


def projection_row(record: Projection | None) -> ProjectionRow | None:
    """Create the row of a projection."""
    return None if record is None else row_of(ProjectionRow, record)


def stage(row: StageRow) -> Stage:
    """Convert a stage row."""
    return record_of(
        Stage,
        row,
        task=label(row.task),
        mask=None if row.mask is None else record_of(MaskRecord, row.mask),
        environment=None if row.environment is None else row.environment.values,
    )


def stage_row(record: Stage, run_id: int, task_id: int, environment: EnvironmentRow | None) -> StageRow:
    """Create the rows of a stage and its mask."""
    mask = None if record.mask is None else row_of(MaskRow, record.mask)
    others = {"run_id": run_id, "task_id": task_id, "mask": mask, "environment": environment}
    return row_of(StageRow, record, **others, committed_at=now())


def statistics(row: TaskStatisticsRow) -> StatisticsRecord:
    """Convert a row of task statistics."""
    return record_of(StatisticsRecord, row, task=label(row.task))


def evaluation(row: EvaluationRow) -> Evaluation:
    """Convert a score row."""
    others = {"task": label(row.task), "outcomes": tuple(row.outcomes), "parts": row.parts or {}}
    return record_of(Evaluation, row, **others)


def evaluation_without_outcomes(columns: dict[str, Any]) -> Evaluation:
    """Create a score's record from its columns without outcomes, and its task's name and version."""
    label = task_label(columns.pop("task_name"), columns.pop("task_version"))
    return Evaluation(**{**columns, "parts": columns["parts"] or {}}, task=label, outcomes=())


def evaluation_row(record: Evaluation, run_id: int, task_id: int) -> EvaluationRow:
    """Create the row of a score."""
    return row_of(EvaluationRow, record, run_id=run_id, task_id=task_id, parts=record.parts or None)
