"""The registry: what was declared, learned and measured, and nothing that was not committed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

import lori_cl
from lori_cl.errors import InputError, UnknownTask, WorkspaceUnusable, suggestion
from lori_cl.registry import queries, rows, summaries
from lori_cl.registry.connect import connect, open_database, parse_url
from lori_cl.registry.database import Database
from lori_cl.registry.records import (
    Declaration,
    Evaluation,
    FirstTraining,
    Run,
    RunStart,
    RunSummary,
    Stage,
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
    """One database of tasks and runs.

    Every writing method is one transaction: after it returns all of it is there, and if it raises none.
    Raises, from every method: WorkspaceUnusable, if the database cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def create(cls, url: str | URL) -> bool:
        """Make the tables; False where a registry of this schema was there already.

        Raises: WorkspaceUnusable, if one of an earlier schema is there; RegistryTooNew.
        """
        from lori_cl.registry.migrate import migrate  # Alembic is slow to import; readers do without it

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
        """Open a registry that is there.

        Raises: WorkspaceUnusable, if there is none, or one of an earlier schema; RegistryTooNew.
        """
        database, schema = open_database(parse_url(url), read_only=read_only)
        try:
            _check_schema(database, schema)
        except BaseException:
            database.release()
            raise
        return cls(database)

    def close(self) -> None:
        """Let go of the database; of SQLite's, the file alone then holds everything."""
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
        """Register tasks, all of them or none; other content than the newest version's is a new version.

        Returns each task, and False where its newest version has the same content.
        """
        return self._database.write(
            lambda session: [queries.add_task(session, declared) for declared in declarations]
        )

    def tasks(self) -> list[Task]:
        """Every version of every task, in the order they were added."""
        ordered = select(TaskRow).order_by(TaskRow.id)
        return self._database.read(lambda session: [rows.task(row) for row in session.scalars(ordered)])

    def task(self, name: str) -> Task:
        """The newest version of 'name', or the version of 'name@2'.

        Raises: UnknownTask, with the nearest name.
        """
        plain, _, version = name.partition("@")

        def find(session: Session) -> Task:
            known = queries.task_rows(session, plain)
            wanted = [row for row in known if not version or str(row.version) == version]
            if not wanted:
                names = [rows.task(row).label for row in known] or list(session.scalars(select(TaskRow.name)))
                raise UnknownTask(f"'{name}'.{suggestion(name, names)} See: lori-cl tasks")
            return rows.task(wanted[-1])

        return self._database.read(find)

    def find_task(self, name: str) -> Task | None:
        """The newest version of a task, or None where nobody added it."""
        found = self._database.read(
            lambda session: [rows.task(row) for row in queries.task_rows(session, name)]
        )
        return found[-1] if found else None

    def first_training(self, task: str, version: int) -> FirstTraining | None:
        """The earliest stage that any run committed for this version of a task; None where there is none."""
        return self._database.read(lambda session: queries.first_training(session, task, version))

    def begin_run(self, start: RunStart) -> Run:
        """Register a run that has not begun yet."""

        def begin(session: Session) -> Run:
            model = start.curriculum["model"]
            row = RunRow(
                name=start.name,
                curriculum=dict(start.curriculum),
                method=start.curriculum["method"],
                seed=start.curriculum["seed"],
                base_path=model["path"],
                base_revision=model["revision"],
                base_digest=start.base_digest,
                imported=start.imported,
                environment=queries.environment_row(session, start.environment),
                projection=rows.projection_row(start.projection),
            )
            session.add(row)
            queries.append_tasks(session, row, start.tasks)
            return rows.run(row)

        return self._database.write(begin)

    def plan_tasks(self, name: str, curriculum: Mapping[str, Any], tasks: Sequence[Task]) -> Run:
        """Put these tasks after those that the run has learned, in place of what was planned there."""

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
        """What a list shows of every run, in the order they began; `runs` reads much more."""
        return self._database.read(summaries.run_summaries)

    def first_stage_scores(self, like: Run, is_alike: summaries.IsAlike) -> dict[str, float]:
        """By task: the newest score that a run's first task had after its own stage.

        Only of runs with the base model, method and seed of this one, and a curriculum that is alike.
        """
        return self._database.read(lambda session: summaries.first_stage_scores(session, like, is_alike))

    def runs(self) -> list[Run]:
        """Every run with its stages and masks, in the order they began."""
        ordered = select(RunRow).order_by(RunRow.id)
        return self._database.read(lambda session: [rows.run(row) for row in session.scalars(ordered)])

    def run(self, name: str) -> Run:
        """One run.

        Raises: UnknownRun, with the nearest name.
        """
        return self._database.read(lambda session: rows.run(queries.run_row(session, name)))

    def find_run(self, name: str) -> Run | None:
        """One run, or None where it has not begun."""

        def find(session: Session) -> Run | None:
            row = session.scalar(select(RunRow).where(RunRow.name == name))
            return rows.run(row) if row else None

        return self._database.read(find)

    def evaluations(self, run: str) -> list[Evaluation]:
        """Every score of a run, by stage."""

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
        """Every score of a run in the order of the commits, without outcomes, which take most of the time."""
        return self._database.read(lambda session: queries.score_log(session, queries.run_id(session, run)))

    def statistics(self, run: str) -> list[StatisticsRecord]:
        """What a run can tell its tasks' texts by, as far as it was gathered."""

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
        """The names of all files that any row names."""
        named = select(ArtifactRow.digest, ArtifactRow.suffix)
        return self._database.read(
            lambda session: frozenset(f"{sha256}.{suffix}" for sha256, suffix in session.execute(named))
        )

    def find_measured(self, input_digest: str) -> Evaluation | None:
        """The first score that was measured, in any run, on inputs of this digest."""
        return next(iter(self.measured_scores(input_digest)), None)

    def measured_scores(self, input_digest: str) -> list[Evaluation]:
        """Every score that was measured, in any run, on inputs of this digest, oldest first."""
        measured = (
            select(EvaluationRow)
            .where(EvaluationRow.input_digest == input_digest, EvaluationRow.source == "measured")
            .order_by(EvaluationRow.id)
        )
        return self._database.read(
            lambda session: [rows.evaluation(row) for row in session.scalars(measured)]
        )

    def unnamed_artifacts(self) -> list[str]:
        """Digests of the JSON Lines files that are registered and that no other row names: stage records."""
        return self._database.read(queries.unnamed_artifacts)

    def artifacts(self, digests: Collection[str]) -> dict[str, tuple[str, int]]:
        """(suffix, bytes) by digest, of those files that are registered."""
        named = select(ArtifactRow).where(ArtifactRow.digest.in_(digests))
        return self._database.read(
            lambda session: {row.digest: (row.suffix, row.bytes) for row in session.scalars(named)}
        )

    def row_digests(self, run: str) -> list[tuple[str, str, str]]:
        """Of every row behind a run that bears a digest of itself: (what it is, that digest, the one of what
        stands in it)."""
        return self._database.read(lambda session: queries.row_digests(queries.run_row(session, run)))

    def damage(self) -> list[str]:
        """What the database finds wrong with itself."""
        return self._database.damage()

    def commit_stage(
        self,
        run: str,
        stage: Stage | None,
        evaluations: Sequence[Evaluation],
        artifacts: Mapping[str, tuple[str, int]],
        statistics: Sequence[StatisticsRecord] = (),
    ) -> None:
        """Commit a stage with its scores and statistics, or either alone (row 0), in one transaction.

        `artifacts` holds (suffix, bytes) by digest; their files must be on disk already.
        """

        def commit(session: Session) -> None:
            run_row = queries.run_row(session, run)
            task_rows = {rows.task(item.task).label: item.task for item in run_row.tasks}
            for sha256, (suffix, size) in artifacts.items():
                queries.name_artifact(session, sha256, suffix, size)
            if stage is not None:
                queries.add_stage(session, stage, run_row.id, task_rows[stage.task].id)
            session.add_all(rows.evaluation_row(e, run_row.id, task_rows[e.task].id) for e in evaluations)
            session.add_all(
                TaskStatisticsRow(
                    run_id=run_row.id, task_id=task_rows[of.task].id, artifact=of.artifact, n=of.n
                )
                for of in statistics
            )

        self._database.write(commit)

    def retire(self, run: str, task: str) -> Stage:
        """Mark a learned task's stage as retired, from the next stage on; `task` is its label.

        Raises: UnknownRun; InputError, if the run has not learned the task, or it is retired already.
        """

        def mark(session: Session) -> Stage:
            row = queries.run_row(session, run)
            stage = next((s for s in row.stages if rows.task(s.task).label == task), None)
            if stage is None or stage.retired_after is not None:
                what = "has not learned" if stage is None else "has retired already"
                raise InputError(f"run '{run}' {what} '{task}'. See: lori-cl capacity {run}")
            stage.retired_after = len(row.stages)
            stage.retired_at = now()
            session.flush()
            return rows.stage(stage)

        return self._database.write(mark)


def _check_schema(database: Database, schema: str) -> None:
    if schema < SCHEMA:
        raise WorkspaceUnusable(
            f"{database.shown} has schema {schema} and lori_cl {lori_cl.__version__} works with {SCHEMA}; "
            "bring it up to date: lori-cl registry upgrade"
        )
