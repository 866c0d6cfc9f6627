"""The tables of the registry."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    MetaData,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

SCHEMA = "0006"
"""The newest migration; registries with another schema must be upgraded or are refused."""


class Number(TypeDecorator[float]):
    """A float; NaN is stored as NULL in every database, as in SQLite."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """Convert NaN to NULL, which a NOT NULL column refuses."""
        return None if value is None or math.isnan(value) else value


class Time(TypeDecorator[datetime]):
    """A time in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return a stored time in UTC."""
        return None if value is None else in_utc(value)


def in_utc(time: datetime) -> datetime:
    """Return a stored time in UTC: SQLite drops the zone (always UTC), a server returns its own."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Base(DeclarativeBase):
    """Base class of all tables; constraints have names, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads the class attribute)
        dict[str, Any]: JSON,
        list[float]: JSON,
        datetime: Time,
        float: Number,
    }


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class AboutRow(Base):
    """The version of lori_cl that last wrote the schema."""

    __tablename__ = "about"
    id: Mapped[int] = mapped_column(primary_key=True)
    written_by: Mapped[str]


class ArtifactRow(Base):
    """A content-addressed file."""

    __tablename__ = "artifacts"
    digest: Mapped[str] = mapped_column(primary_key=True)
    suffix: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)


class EvalSetRow(Base):
    """The examples that a task is scored on."""

    __tablename__ = "eval_sets"
    id: Mapped[int] = mapped_column(primary_key=True)
    artifact: Mapped[str] = mapped_column(ForeignKey("artifacts.digest"), unique=True)
    n: Mapped[int]


class TaskRow(Base):
    """One version of a task."""

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("name", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    version: Mapped[int]
    kind: Mapped[str]
    metric: Mapped[str]
    seed: Mapped[int]
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str]
    eval_set_id: Mapped[int] = mapped_column(ForeignKey("eval_sets.id"))
    declared_in: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    eval_set: Mapped[EvalSetRow] = relationship(lazy="joined", innerjoin=True)


class EnvironmentRow(Base):
    """The software and hardware environment of runs and stages."""

    __tablename__ = "environments"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    values: Mapped[dict[str, Any]]


class ProjectionRow(Base):
    """A run's frozen projections A."""

    __tablename__ = "projections"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), unique=True)
    kind: Mapped[str]
    distribution: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    rank: Mapped[int]
    digest: Mapped[str | None]
    sites: Mapped[dict[str, Any]]


class RunRow(Base):
    """One execution of a curriculum with one seed."""

    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    curriculum: Mapped[dict[str, Any]]
    method: Mapped[str]
    seed: Mapped[int]
    base_path: Mapped[str]
    base_revision: Mapped[str | None]
    base_digest: Mapped[str]
    imported: Mapped[str | None]
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    environment: Mapped[EnvironmentRow] = relationship(lazy="joined", innerjoin=True)
    projection: Mapped[ProjectionRow | None] = relationship(lazy="joined")
    tasks: Mapped[list[RunTaskRow]] = relationship(order_by="RunTaskRow.position", lazy="selectin")
    stages: Mapped[list[StageRow]] = relationship(order_by="StageRow.position", lazy="selectin")


class RunTaskRow(Base):
    """A task in a run's order, pinned to its version."""

    __tablename__ = "run_tasks"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        UniqueConstraint("run_id", "task_id", name="uq_run_tasks_run_id_task_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    position: Mapped[int]
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    task: Mapped[TaskRow] = relationship(lazy="joined", innerjoin=True)


class StageRow(Base):
    """A committed stage; uncommitted stages have no row."""

    __tablename__ = "stages"
    __table_args__ = (UniqueConstraint("run_id", "position"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    position: Mapped[int]
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    artifact: Mapped[str] = mapped_column(ForeignKey("artifacts.digest"))
    parent: Mapped[str | None] = mapped_column(ForeignKey("artifacts.digest"))
    train_digest: Mapped[str]
    n_train: Mapped[int]
    n_truncated: Mapped[int]
    steps: Mapped[int]
    final_loss: Mapped[float]
    elapsed_s: Mapped[float]
    train_s: Mapped[float]
    peak_memory_bytes: Mapped[int] = mapped_column(BigInteger)
    seeds: Mapped[dict[str, Any]]
    committed_at: Mapped[datetime] = mapped_column(default=now)
    retired_after: Mapped[int | None]
    retired_at: Mapped[datetime | None]
    environment_id: Mapped[int | None] = mapped_column(ForeignKey("environments.id"))
    task: Mapped[TaskRow] = relationship(lazy="joined", innerjoin=True)
    mask: Mapped[MaskRow | None] = relationship(lazy="joined")
    environment: Mapped[EnvironmentRow | None] = relationship(lazy="joined")


class MaskRow(Base):
    """Counts of a stage's cells."""

    __tablename__ = "masks"
    id: Mapped[int] = mapped_column(primary_key=True)
    stage_id: Mapped[int] = mapped_column(ForeignKey("stages.id"), unique=True)
    strategy: Mapped[str]
    density: Mapped[float]
    cells: Mapped[int]
    digest: Mapped[str]
    by_site: Mapped[dict[str, Any]]
    rank: Mapped[int | None]
    projection: Mapped[str | None]
    directions: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class TaskStatisticsRow(Base):
    """Feature statistics of a task's texts, used to predict the task of a text."""

    __tablename__ = "task_statistics"
    __table_args__ = (UniqueConstraint("run_id", "task_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    artifact: Mapped[str] = mapped_column(ForeignKey("artifacts.digest"))
    n: Mapped[int]
    task: Mapped[TaskRow] = relationship(lazy="joined", innerjoin=True)


class EvaluationRow(Base):
    """One cell of a forgetting matrix."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("run_id", "stage", "task_id", "view"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    stage: Mapped[int]
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    view: Mapped[str]
    metric: Mapped[str]
    score: Mapped[float]
    n: Mapped[int]
    stderr: Mapped[float | None]
    source: Mapped[str]
    input_digest: Mapped[str] = mapped_column(index=True)
    n_truncated: Mapped[int]
    elapsed_s: Mapped[float]
    answers: Mapped[str] = mapped_column(ForeignKey("artifacts.digest"))
    outcomes: Mapped[list[float]]
    parts: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    task: Mapped[TaskRow] = relationship(lazy="joined", innerjoin=True)
