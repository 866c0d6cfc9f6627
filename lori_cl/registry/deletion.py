"""Delete the rows of a run, within an open session.

Another run refers to a run through cached scores only: `verify` requires that they were measured somewhere.
Artifacts have no owner: the row of an artifact stays as long as another row names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from lori_cl.errors import RunConflict
from lori_cl.registry import queries, rows
from lori_cl.registry.stage_records import stage_records
from lori_cl.registry.tables import (
    ArtifactRow,
    Base,
    EnvironmentRow,
    EvalSetRow,
    EvaluationRow,
    MaskRow,
    ProjectionRow,
    RunRow,
    RunTaskRow,
    StageRow,
    TaskRow,
    TaskStatisticsRow,
)

DIGESTS_PER_QUERY = 1_000
"""Databases limit the number of parameters of a query."""

CachedInputs = tuple[str, str]
"""(input digest, digest of the answers) of a cached score."""

HeldBackScores = Mapping[str, Collection[CachedInputs]]
"""The cached scores of held-back stages, which are not committed yet, by run."""


@dataclass(frozen=True)
class DeletionPlan:
    """What is deleted with a run, and what prevents it."""

    stages: int
    scores: int
    unused: Mapping[str, int]
    """The bytes of each artifact that no other row names, by digest; their rows are deleted too."""
    dependents: Mapping[str, int]
    """By run, the number of its cached scores that only this run measured. With any, it cannot be deleted."""

    def require_no_dependents(self, name: str) -> None:
        """Check that the deletion breaks the verification of no other run.

        Raises: RunConflict, naming the dependent runs.
        """
        if not self.dependents:
            return
        counted = ", ".join(
            f"{n:,} score{'s' * (n != 1)} of run '{run}'" for run, n in self.dependents.items()
        )
        raise RunConflict(
            f"run '{name}' cannot be deleted: {counted} cached from it could no longer be verified; keep it, "
            f"or delete first: {', '.join(self.dependents)}"
        )


def plan_deletion(session: Session, name: str, held_back: HeldBackScores) -> DeletionPlan:
    """Return what is deleted with a run, and what prevents it.

    Raises: UnknownRun.
    """
    row = queries.run_row(session, name)
    log = queries.score_log(session, row.id)
    named = {
        *(stage.artifact for stage in row.stages),
        *(score.answers for score in log),
        *session.scalars(select(TaskStatisticsRow.artifact).where(TaskStatisticsRow.run_id == row.id)),
        *(record.head for record in stage_records(rows.run(row), log)),
    }
    measured = {(score.input_digest, score.answers) for score in log if score.source == "measured"}
    return DeletionPlan(
        stages=len(row.stages),
        scores=len(log),
        unused=_unused(session, named, row.id),
        dependents=_dependents(session, measured, row.id, held_back),
    )


def delete_run(session: Session, name: str, plan: DeletionPlan) -> None:
    """Delete all rows of a run, and the rows of the artifacts that are unused without it."""
    row = queries.run_row(session, name)
    environments = {row.environment_id, *(stage.environment_id for stage in row.stages)} - {None}
    _delete(session, MaskRow, MaskRow.stage_id.in_(select(StageRow.id).where(StageRow.run_id == row.id)))
    for table in (EvaluationRow, TaskStatisticsRow, StageRow, RunTaskRow, ProjectionRow):
        _delete(session, table, table.run_id == row.id)
    _delete(session, RunRow, RunRow.id == row.id)
    in_use = select(StageRow.environment_id).where(StageRow.environment_id.is_not(None))
    _delete(
        session,
        EnvironmentRow,
        EnvironmentRow.id.in_(environments),
        EnvironmentRow.id.not_in(in_use.union(select(RunRow.environment_id))),
    )
    for digests in _parts(plan.unused):
        _delete(session, ArtifactRow, ArtifactRow.digest.in_(digests))


def _delete(session: Session, table: type[Base], *where: ColumnElement[bool]) -> None:
    session.execute(delete(table).where(*where).execution_options(synchronize_session=False))


def _dependents(
    session: Session,
    measured: Collection[CachedInputs],
    run_id: int,
    held_back: HeldBackScores,
) -> dict[str, int]:
    """Return how many cached scores of each other run only this run measured."""
    cached = [(run, inputs) for run, found in held_back.items() for inputs in found]
    measured_elsewhere: set[CachedInputs] = set()
    columns = (RunRow.name, EvaluationRow.source, EvaluationRow.input_digest, EvaluationRow.answers)
    for digests in _parts({input_digest for input_digest, _ in measured}):
        others = session.execute(
            select(*columns)
            .join(RunRow, RunRow.id == EvaluationRow.run_id)
            .where(EvaluationRow.run_id != run_id, EvaluationRow.input_digest.in_(digests))
        )
        for run, source, input_digest, answers in others:
            if source == "measured":
                measured_elsewhere.add((input_digest, answers))
            else:
                cached.append((run, (input_digest, answers)))
    needed = set(measured) - measured_elsewhere
    return dict(sorted(Counter(run for run, inputs in cached if inputs in needed).items()))


def _unused(session: Session, named: Collection[str], run_id: int) -> dict[str, int]:
    """Return the bytes of those of a run's artifacts that nothing else refers to, by digest."""
    found: dict[str, int] = {}
    for digests in _parts(named):
        references = [
            select(column).where(column.in_(digests), *where)
            for column, *where in (
                (StageRow.artifact, StageRow.run_id != run_id),
                (StageRow.parent, StageRow.run_id != run_id),
                (TaskStatisticsRow.artifact, TaskStatisticsRow.run_id != run_id),
                (EvaluationRow.answers, EvaluationRow.run_id != run_id),
                (EvalSetRow.artifact,),
            )
        ]
        used = {sha256 for each in references for sha256 in session.scalars(each)}
        sizes = select(ArtifactRow.digest, ArtifactRow.bytes).where(ArtifactRow.digest.in_(digests))
        found |= {sha256: size for sha256, size in session.execute(sizes) if sha256 not in used}
    of_tasks = {split for spec in session.scalars(select(TaskRow.spec)) for split in _splits(spec)}
    return {sha256: size for sha256, size in found.items() if sha256 not in of_tasks}


def _splits(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the splits of a task; those of a task with data in memory are artifacts."""
    for part in ("train", "eval"):
        yield str((spec.get(part) or {}).get("split"))


def _parts(digests: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(digests)
    for begin in range(0, len(ordered), DIGESTS_PER_QUERY):
        yield ordered[begin : begin + DIGESTS_PER_QUERY]
