"""Queries and updates of the registry, each within an open session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lori_cl import digest
from lori_cl.errors import UnknownRun, suggestion
from lori_cl.registry import rows
from lori_cl.registry.records import Declaration, Evaluation, FirstTraining, Stage, Task
from lori_cl.registry.tables import (
    ArtifactRow,
    EnvironmentRow,
    EvalSetRow,
    EvaluationRow,
    RunRow,
    RunTaskRow,
    StageRow,
    TaskRow,
)


def task_rows(session: Session, name: str) -> list[TaskRow]:
    """Return every version of a task, oldest first."""
    return list(session.scalars(select(TaskRow).where(TaskRow.name == name).order_by(TaskRow.version)))


def add_task(session: Session, declared: Declaration) -> tuple[Task, bool]:
    """Register a task; return it, and whether its content differs from the newest version's."""
    spec_digest = digest.of_json(declared.spec)
    artifact, n, size = declared.eval_set
    known = task_rows(session, str(declared.spec["name"]))
    if known and (known[-1].spec_digest, known[-1].eval_set.artifact) == (spec_digest, artifact):
        known[-1].declared_in = declared.declared_in  # the location of the data is not part of the version
        return rows.task(known[-1]), False
    for sha256, bytes_ in {artifact: size, **declared.files}.items():
        register_artifact(session, sha256, "jsonl", bytes_)
    eval_row = session.scalar(select(EvalSetRow).where(EvalSetRow.artifact == artifact))
    row = TaskRow(
        **{field: declared.spec[field] for field in ("name", "kind", "metric", "seed")},
        version=len(known) + 1,
        spec=dict(declared.spec),
        spec_digest=spec_digest,
        eval_set=eval_row or EvalSetRow(artifact=artifact, n=n),
        declared_in=declared.declared_in,
    )
    session.add(row)
    session.flush()
    return rows.task(row), True


def first_training(session: Session, name: str, version: int) -> FirstTraining | None:
    """Return the earliest stage that any run committed for this version of a task, or None."""
    task = select(TaskRow.id).where(TaskRow.name == name, TaskRow.version == version).scalar_subquery()
    found = session.execute(
        select(StageRow.train_digest, StageRow.n_train, StageRow.seeds, RunRow.name, RunRow.curriculum)
        .join(RunRow, RunRow.id == StageRow.run_id)
        .where(StageRow.task_id == task)
        .order_by(StageRow.id)
        .limit(1)
    ).first()
    if found is None:
        return None
    digest_, n, seeds, run, curriculum = found
    return FirstTraining(run, curriculum.get("train", {}).get("limit"), digest_, n, seeds)


def append_tasks(session: Session, row: RunRow, tasks: Sequence[Task]) -> None:
    """Append tasks, at their versions, to a run's task order."""
    for task in tasks:
        task_row = next(r for r in task_rows(session, task.name) if r.version == task.version)
        row.tasks.append(RunTaskRow(position=len(row.tasks) + 1, task=task_row))
    session.flush()


def run_row(session: Session, name: str) -> RunRow:
    """Return the row of a run.

    Raises: UnknownRun, with the nearest name.
    """
    row = session.scalar(select(RunRow).where(RunRow.name == name))
    if row is None:
        known = list(session.scalars(select(RunRow.name)))
        raise UnknownRun(f"no run is named '{name}'.{suggestion(name, known)} See: lori-cl runs")
    return row


def run_id(session: Session, name: str) -> int:
    """Return the id of a run, without loading its rows.

    Raises: UnknownRun, with the nearest name.
    """
    found = session.scalar(select(RunRow.id).where(RunRow.name == name))
    return found if found is not None else run_row(session, name).id


def score_log(session: Session, run_id: int) -> list[Evaluation]:
    """Return a run's scores in commit order, without outcomes."""
    columns = [
        c for c in EvaluationRow.__table__.columns if c.name not in {"id", "run_id", "task_id", "outcomes"}
    ]
    found = session.execute(
        select(*columns, TaskRow.name.label("task_name"), TaskRow.version.label("task_version"))
        .join(TaskRow, TaskRow.id == EvaluationRow.task_id)
        .where(EvaluationRow.run_id == run_id)
        .order_by(EvaluationRow.id)
    )
    return [rows.evaluation_without_outcomes(dict(row)) for row in found.mappings()]


def unreferenced_artifacts(session: Session) -> list[str]:
    """Return digests of registered JSON Lines files that are neither answers nor an eval set."""
    referenced = select(EvaluationRow.answers).union(select(EvalSetRow.artifact))
    unreferenced = select(ArtifactRow.digest).where(
        ArtifactRow.suffix == "jsonl", ArtifactRow.digest.not_in(referenced)
    )
    return list(session.scalars(unreferenced))


def add_stage(session: Session, stage: Stage, run_id: int, task_id: int) -> None:
    """Register a stage with its mask and its environment."""
    environment = None if stage.environment is None else environment_row(session, stage.environment)
    session.add(rows.stage_row(stage, run_id, task_id, environment))


def environment_row(session: Session, values: Mapping[str, Any]) -> EnvironmentRow:
    """Return the row of an environment, registering it if it is new."""
    sha256 = digest.of_json(values)
    row = session.scalar(select(EnvironmentRow).where(EnvironmentRow.digest == sha256))
    return row or EnvironmentRow(digest=sha256, values=dict(values))


def row_digests(row: RunRow) -> list[tuple[str, str, str]]:
    """Return (name, stored digest, digest of the content) of a run's tasks and environments."""
    tasks = [*(item.task for item in row.tasks), *rows.also_rows(row)]
    environments = {
        each.id: each for each in (row.environment, *(stage.environment for stage in row.stages)) if each
    }
    return [
        *((f"the declaration of {rows.label(t)}", t.spec_digest, digest.of_json(t.spec)) for t in tasks),
        *((f"environment {e.id}", e.digest, digest.of_json(e.values)) for e in environments.values()),
    ]


def register_artifact(session: Session, sha256: str, suffix: str, size: int) -> None:
    """Register a file if it is not registered yet."""
    if session.get(ArtifactRow, sha256) is None:
        session.add(ArtifactRow(digest=sha256, suffix=suffix, bytes=size))
        session.flush()
