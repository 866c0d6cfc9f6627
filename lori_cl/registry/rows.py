"""Conversion between rows and records."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, cast

from lori_cl.registry.records import (
    EvalSet,
    Evaluation,
    MaskRecord,
    Projection,
    Run,
    Source,
    Stage,
    StatisticsRecord,
    Task,
)
from lori_cl.registry.tables import (
    EnvironmentRow,
    EvaluationRow,
    MaskRow,
    ProjectionRow,
    RunRow,
    StageRow,
    TaskRow,
    TaskStatisticsRow,
)


def in_utc(time: datetime) -> datetime:
    """Return a stored time in UTC: SQLite drops the zone (always UTC), a server returns its own."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def task(row: TaskRow) -> Task:
    """Convert a task row."""
    return Task(
        name=row.name,
        version=row.version,
        kind=row.kind,
        metric=row.metric,
        seed=row.seed,
        spec=row.spec,
        eval_set=EvalSet(row.eval_set.artifact, row.eval_set.n),
        declared_in=row.declared_in,
        created_at=in_utc(row.created_at),
    )


def run(row: RunRow) -> Run:
    """Convert a run row, with its tasks and stages."""
    return Run(
        name=row.name,
        curriculum=row.curriculum,
        method=row.method,
        seed=row.seed,
        base_path=row.base_path,
        base_revision=row.base_revision,
        base_digest=row.base_digest,
        tasks=tuple(task(item.task) for item in row.tasks),
        stages=tuple(stage(item) for item in row.stages),
        projection=None if row.projection is None else projection(row.projection),
        environment=row.environment.values,
        created_at=in_utc(row.created_at),
        imported=row.imported,
    )


def projection(row: ProjectionRow) -> Projection:
    """Convert a projection row."""
    sites = {name: (out, in_features) for name, (out, in_features) in row.sites.items()}
    return Projection(row.kind, row.distribution, row.seed, row.rank, row.digest, sites)


def projection_row(record: Projection | None) -> ProjectionRow | None:
    """Create the row of a projection."""
    if record is None:
        return None
    fields = {**asdict(record), "sites": {name: list(shape) for name, shape in record.sites.items()}}
    return ProjectionRow(**fields)


def stage(row: StageRow) -> Stage:
    """Convert a stage row."""
    return Stage(
        position=row.position,
        task=task(row.task).label,
        artifact=row.artifact,
        parent=row.parent,
        mask=None if row.mask is None else mask(row.mask),
        train_digest=row.train_digest,
        n_train=row.n_train,
        n_truncated=row.n_truncated,
        steps=row.steps,
        final_loss=row.final_loss,
        elapsed_s=row.elapsed_s,
        train_s=row.train_s,
        peak_memory_bytes=row.peak_memory_bytes,
        seeds=row.seeds,
        committed_at=in_utc(row.committed_at),
        retired_after=row.retired_after,
        environment=None if row.environment is None else row.environment.values,
    )


def mask(row: MaskRow) -> MaskRecord:
    """Convert a mask row."""
    return MaskRecord(
        strategy=row.strategy,
        density=row.density,
        cells=row.cells,
        digest=row.digest,
        by_site=row.by_site,
        rank=row.rank,
        projection=row.projection,
        directions=row.directions,
    )


def stage_row(record: Stage, run_id: int, task_id: int, environment: EnvironmentRow | None) -> StageRow:
    """Create the rows of a stage and its mask."""
    separate = {"task", "mask", "committed_at", "environment"}
    fields = {k: v for k, v in asdict(record).items() if k not in separate}
    mask_row = MaskRow(**asdict(record.mask)) if record.mask else None
    return StageRow(**fields, run_id=run_id, task_id=task_id, mask=mask_row, environment=environment)


def statistics(row: TaskStatisticsRow) -> StatisticsRecord:
    """Convert a row of task statistics."""
    return StatisticsRecord(task(row.task).label, row.artifact, row.n)


def evaluation(row: EvaluationRow) -> Evaluation:
    """Convert a score row."""
    return Evaluation(
        stage=row.stage,
        task=task(row.task).label,
        view=row.view,
        metric=row.metric,
        score=row.score,
        n=row.n,
        stderr=row.stderr,
        source=cast(Source, row.source),
        input_digest=row.input_digest,
        n_truncated=row.n_truncated,
        elapsed_s=row.elapsed_s,
        answers=row.answers,
        outcomes=tuple(row.outcomes),
        parts=row.parts or {},
    )


def evaluation_without_outcomes(columns: dict[str, Any]) -> Evaluation:
    """Create a score's record from its columns without outcomes, and its task's name and version."""
    name, version = columns.pop("task_name"), columns.pop("task_version")
    label = name if version == 1 else f"{name}@{version}"
    return Evaluation(**{**columns, "parts": columns["parts"] or {}}, task=label, outcomes=())


def evaluation_row(record: Evaluation, run_id: int, task_id: int) -> EvaluationRow:
    """Create the row of a score."""
    fields = {k: v for k, v in asdict(record).items() if k != "task"}
    fields |= {"outcomes": list(record.outcomes), "parts": dict(record.parts) or None}
    return EvaluationRow(**fields, run_id=run_id, task_id=task_id)
