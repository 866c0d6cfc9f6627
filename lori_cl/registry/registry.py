"""The registry of tasks, runs, stages and scores; it contains only committed data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

import lori_cl
from lori_cl.errors import InputError, UnknownTask, WorkspaceUnusable, suggestion
from lori_cl.registry import deletion, queries, rows, summaries
from lori_cl.registry.connect import connect, open_database, parse_url
from lori_cl.registry.database import Database
from lori_cl.registry.deletion import DeletionPlan, HeldBackScores
from lori_cl.registry.records import (
    Declaration,
    Evaluation,
    FirstTraining,
    Run,
    RunStart,
    RunSummary,
    ScoreTime,
    Stage,
    StageTime,
    StatisticsRecord,
    Task,
)
from lori_cl.registry.tables import (
    SCHEMA,
    ArtifactRow,
    EvaluationRow,
    RunRow,
    TaskRow,
    TaskStatisticsRow,
    now,
)


class Registry:
    """A database of tasks and runs.

    Every writing method is one transaction: it is committed if the method returns, rolled back if it raises.
    Raises, from every method: WorkspaceUnusable, if the database cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def create(cls, url: str | URL) -> bool:
        """Create the tables; return False if a registry of this schema exists already.

        Raises: WorkspaceUnusable, if a registry of an earlier schema exists; RegistryTooNew.
        """
        from lori_cl.registry.migrate import migrate  # Alembic is slow to import; readers do not need it

        database = connect(parse_url(url), read_only=False)
        try:
            schema = database.schema()
            if schema is not None:
                _check_schema(database, schema)
                return False
            database.prepare()
            with database.changing_tables() as connection:
                migrate(connection)
        finally:
            database.release()
        return True

    @classmethod
    def open(cls, url: str | URL, *, read_only: bool) -> Self:
        """Open an existing registry.

        Raises: WorkspaceUnusable, if there is none or its schema is older; RegistryTooNew.
        """
        database, schema = open_database(parse_url(url), read_only=read_only)
        try:
            _check_schema(database, schema)
        except BaseException:
            database.release()
            raise
        return cls(database)

    def close(self) -> None:
        """Close the database; a SQLite file then contains all data, without a log file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_task(
        self, spec: Mapping[str, Any], eval_set: tuple[str, int, int], declared_in: str
    ) -> tuple[Task, bool]:
        """Register a task; see `add_tasks`."""
        ((task, is_new),) = self.add_tasks([Declaration(spec, eval_set, declared_in)])
        return task, is_new

    def add_tasks(self, declarations: Sequence[Declaration]) -> list[tuple[Task, bool]]:
        """Register all tasks in one transaction; changed content becomes a new version of the task.

        Returns each task, and False if its newest version has the same content.
        """
        return self._database.write(
            lambda session: [queries.add_task(session, declared) for declared in declarations]
        )

    def tasks(self) -> list[Task]:
        """Return every version of every task, in the order of registration."""
        ordered = select(TaskRow).order_by(TaskRow.id)
        return self._database.read(lambda session: [rows.task(row) for row in session.scalars(ordered)])

    def task(self, name: str) -> Task:
        """Return the newest version of 'name', or version 2 for 'name@2'.

        Raises: UnknownTask, with the nearest name.
        """
        base_name, _, version = name.partition("@")

        def find(session: Session) -> Task:
            known = queries.task_rows(session, base_name)
            matching = [row for row in known if not version or str(row.version) == version]
            if not matching:
                names = [rows.label(row) for row in known] or list(session.scalars(select(TaskRow.name)))
                raise UnknownTask(f"no task is named '{name}'.{suggestion(name, names)} See: lori-cl tasks")
            return rows.task(matching[-1])

        return self._database.read(find)

    def find_task(self, name: str) -> Task | None:
        """Return the newest version of a task, or None if it is not registered."""
        found = self._database.read(
            lambda session: [rows.task(row) for row in queries.task_rows(session, name)]
        )
        return found[-1] if found else None

    def first_training(self, task: str, version: int) -> FirstTraining | None:
        """Return the earliest stage that any run committed for this version of a task, or None."""
        return self._database.read(lambda session: queries.first_training(session, task, version))

    def begin_run(self, start: RunStart) -> Run:
        """Register a new run."""

        def begin(session: Session) -> Run:
            model = start.curriculum["model"]
            row = rows.row_of(
                RunRow,
                start,
                method=start.curriculum["method"],
                seed=start.curriculum["seed"],
                base_path=model["path"],
                base_revision=model["revision"],
                environment=queries.environment_row(session, start.environment),
                projection=rows.projection_row(start.projection),
            )
            session.add(row)
            queries.append_tasks(session, row, start.tasks)
            return rows.run(row)

        return self._database.write(begin)

    def plan_tasks(self, name: str, curriculum: Mapping[str, Any], tasks: Sequence[Task]) -> Run:
        """Replace the tasks that the run has not trained yet."""

        def plan(session: Session) -> Run:
            row = queries.run_row(session, name)
            row.curriculum = dict(curriculum)
            for planned in row.tasks[len(row.stages) :]:
                row.tasks.remove(planned)
                session.delete(planned)
            session.flush()
            queries.append_tasks(session, row, tasks)
            return rows.run(row)

        return self._database.write(plan)

    def run_summaries(self) -> list[RunSummary]:
        """Return a summary of every run, in the order of their start; `runs` reads much more."""
        return self._database.read(summaries.run_summaries)

    def first_stage_scores(self, like: Run, is_alike: summaries.IsAlike) -> dict[str, float]:
        """Return, by task, the newest score that a run's first task had after its own stage.

        Only runs count that have the base model, method and seed of `like` and a curriculum that `is_alike`
        accepts.
        """
        return self._database.read(lambda session: summaries.first_stage_scores(session, like, is_alike))

    def recorded_times(self, base_digest: str) -> tuple[list[StageTime], list[ScoreTime]]:
        """Return the times of all stages and measured scores of runs with this base model, oldest first."""
        return self._database.read(lambda session: summaries.recorded_times(session, base_digest))

    def runs(self) -> list[Run]:
        """Return every run with its stages and masks, in the order of their start."""
        ordered = select(RunRow).order_by(RunRow.id)
        return self._database.read(lambda session: [rows.run(row) for row in session.scalars(ordered)])

    def run(self, name: str) -> Run:
        """Return a run.

        Raises: UnknownRun, with the nearest name.
        """
        return self._database.read(lambda session: rows.run(queries.run_row(session, name)))

    def require_run(self, name: str) -> None:
        """Check that a run exists, without loading it.

        Raises: UnknownRun, with the nearest name.
        """
        self._database.read(lambda session: queries.run_id(session, name))

    def find_run(self, name: str) -> Run | None:
        """Return a run, or None if it does not exist."""

        def find(session: Session) -> Run | None:
            row = session.scalar(select(RunRow).where(RunRow.name == name))
            return rows.run(row) if row else None

        return self._database.read(find)

    def evaluations(self, run: str) -> list[Evaluation]:
        """Return every score of a run, ordered by stage."""

        def find(session: Session) -> list[Evaluation]:
            run_id = queries.run_id(session, run)
            found = session.scalars(
                select(EvaluationRow)
                .where(EvaluationRow.run_id == run_id)
                .order_by(EvaluationRow.stage, EvaluationRow.id)
            )
            return [rows.evaluation(row) for row in found]

        return self._database.read(find)

    def score_log(self, run: str) -> list[Evaluation]:
        """Return every score of a run in commit order, without outcomes, which are slow to read."""
        return self._database.read(lambda session: queries.score_log(session, queries.run_id(session, run)))

    def statistics(self, run: str) -> list[StatisticsRecord]:
        """Return the feature statistics of a run's tasks, as far as they exist."""

        def find(session: Session) -> list[StatisticsRecord]:
            run_id = queries.run_id(session, run)
            found = session.scalars(
                select(TaskStatisticsRow)
                .where(TaskStatisticsRow.run_id == run_id)
                .order_by(TaskStatisticsRow.id)
            )
            return [rows.statistics(row) for row in found]

        return self._database.read(find)

    def artifact_files(self) -> frozenset[str]:
        """Return the names of all registered artifact files."""
        registered = select(ArtifactRow.digest, ArtifactRow.suffix)
        return self._database.read(
            lambda session: frozenset(f"{sha256}.{suffix}" for sha256, suffix in session.execute(registered))
        )

    def find_measured(self, input_digest: str) -> Evaluation | None:
        """Return the oldest score that any run measured on inputs with this digest, or None."""
        return next(iter(self.measured_scores(input_digest)), None)

    def measured_scores(self, input_digest: str) -> list[Evaluation]:
        """Return every score that any run measured on inputs with this digest, oldest first."""
        measured = (
            select(EvaluationRow)
            .where(EvaluationRow.input_digest == input_digest, EvaluationRow.source == "measured")
            .order_by(EvaluationRow.id)
        )
        return self._database.read(
            lambda session: [rows.evaluation(row) for row in session.scalars(measured)]
        )

    def unreferenced_artifacts(self) -> list[str]:
        """Return digests of the registered JSON Lines files that no other row refers to: stage records."""
        return self._database.read(queries.unreferenced_artifacts)

    def artifacts(self, digests: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return (suffix, bytes) by digest for those of the digests that are registered."""
        registered = select(ArtifactRow).where(ArtifactRow.digest.in_(digests))
        return self._database.read(
            lambda session: {row.digest: (row.suffix, row.bytes) for row in session.scalars(registered)}
        )

    def row_digests(self, run: str) -> list[tuple[str, str, str]]:
        """Return (name, stored digest, digest of the content) of a run's tasks and environments."""
        return self._database.read(lambda session: queries.row_digests(queries.run_row(session, run)))

    def damage(self) -> list[str]:
        """Return the errors of the database's integrity check."""
        return self._database.damage()

    def commit_stage(
        self,
        run: str,
        stage: Stage | None,
        evaluations: Sequence[Evaluation],
        artifacts: Mapping[str, tuple[str, int]],
        statistics: Sequence[StatisticsRecord] = (),
    ) -> None:
        """Commit a stage with its scores and statistics in one transaction; row 0 has no stage.

        `artifacts` maps digests to (suffix, bytes); the files must already be on disk.
        """

        def commit(session: Session) -> None:
            run_row = queries.run_row(session, run)
            scored = (*(item.task for item in run_row.tasks), *rows.also_rows(run_row))
            task_rows = {rows.label(task): task for task in scored}
            for sha256, (suffix, size) in artifacts.items():
                queries.register_artifact(session, sha256, suffix, size)
            if stage is not None:
                queries.add_stage(session, stage, run_row.id, task_rows[stage.task].id)
            session.add_all(rows.evaluation_row(e, run_row.id, task_rows[e.task].id) for e in evaluations)
            session.add_all(
                rows.row_of(TaskStatisticsRow, of, run_id=run_row.id, task_id=task_rows[of.task].id)
                for of in statistics
            )

        self._database.write(commit)

    def retire(self, run: str, task: str) -> Stage:
        """Retire a trained task, from the next stage on; `task` is its label.

        Raises: UnknownRun; InputError, if the task is not trained or is already retired.
        """

        def mark(session: Session) -> Stage:
            row = queries.run_row(session, run)
            stage = next((s for s in row.stages if rows.label(s.task) == task), None)
            if stage is None or stage.retired_after is not None:
                problem = "has not trained" if stage is None else "has already retired"
                raise InputError(f"run '{run}' {problem} task '{task}'. See: lori-cl capacity {run}")
            stage.retired_after = len(row.stages)
            stage.retired_at = now()
            session.flush()
            return rows.stage(stage)

        return self._database.write(mark)

    def plan_deletion(self, run: str, held_back: HeldBackScores) -> DeletionPlan:
        """Return what `delete_run` deletes, and what prevents it.

        Raises: UnknownRun.
        """
        return self._database.read(lambda session: deletion.plan_deletion(session, run, held_back))

    def delete_run(self, run: str, held_back: HeldBackScores) -> DeletionPlan:
        """Delete a run with its stages, scores and statistics, and the rows of artifacts that it alone names.

        `held_back` has the cached scores of the held-back stages of other runs, by run.
        Raises: UnknownRun; RunConflict, if other runs have cached scores that only this run measured.
        """

        def delete(session: Session) -> DeletionPlan:
            plan = deletion.plan_deletion(session, run, held_back)
            plan.require_no_dependents(run)
            deletion.delete_run(session, run, plan)
            return plan

        return self._database.write(delete)


def _check_schema(database: Database, schema: str) -> None:
    if schema < SCHEMA:
        raise WorkspaceUnusable(
            f"{database.display_name} has schema {schema}; lori_cl {lori_cl.__version__} needs "
            f"schema {SCHEMA}. Upgrade it: lori-cl registry upgrade"
        )
