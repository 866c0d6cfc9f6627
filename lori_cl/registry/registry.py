"""The registry: what was declared, learned and measured, and nothing that was not committed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

import lori_cl
from lori_cl.errors import InputError, RunConflict, UnknownTask, WorkspaceUnusable, suggestion
from lori_cl.registry import queries, rows
from lori_cl.registry.connect import (
    WRITES,
    check_schema,
    damage,
    fold_log,
    keep_a_log,
    parse_url,
    reading_engine,
    reason,
    sqlite_file,
    writing_engine,
)
from lori_cl.registry.records import (
    Declaration,
    Evaluation,
    Run,
    RunStart,
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

log = logging.getLogger(__name__)


class Registry:
    """One database of tasks and runs.

    Every writing method is one transaction: after it returns all of it is there, and if it raises none.
    Raises, from every method: WorkspaceUnusable, if the database cannot be read or written.
    """

    def __init__(self, engine: Engine, shown: str, *, folds: bool = False) -> None:
        self._engine = engine
        self._shown = shown
        self._folds = folds

    @classmethod
    def create(cls, url: str | URL) -> bool:
        """Make the tables; False where a registry of this schema was there already."""
        from lori_cl.registry.migrate import upgrade  # Alembic is slow to import; readers do without it

        parsed = parse_url(url)
        shown = _shown(url)
        engine = writing_engine(parsed)
        try:
            before = check_schema(engine, shown)
            if sqlite_file(parsed) is not None:
                keep_a_log(engine)
            upgrade(engine)
        except (SQLAlchemyError, OSError) as error:
            raise WorkspaceUnusable(f"{shown} cannot be written: {_words(error)}") from error
        finally:
            engine.dispose()
        return before is None

    @classmethod
    def open(cls, url: str | URL, *, read_only: bool) -> Self:
        """Open a registry that is there.

        Raises: WorkspaceUnusable, if there is none; RegistryTooNew.
        """
        parsed = parse_url(url)
        shown = _shown(url)
        path = sqlite_file(parsed)
        missing = WorkspaceUnusable(f"no registry at {shown}; make one: lori-cl init")
        if path is not None and not _is_file(path):
            raise missing
        engine = reading_engine(parsed) if read_only else writing_engine(parsed)
        try:
            schema = check_schema(engine, shown)
            if schema is None:
                raise missing
            if schema < SCHEMA:
                raise WorkspaceUnusable(
                    f"{shown} has schema {schema} and lori_cl {lori_cl.__version__} works with {SCHEMA}; "
                    "bring it up to date: lori-cl init"
                )
        except BaseException as error:
            engine.dispose()
            if isinstance(error, SQLAlchemyError | UnicodeDecodeError):  # its own words, damaged
                raise WorkspaceUnusable(f"{shown} cannot be opened: {_words(error)}") from error
            raise
        return cls(engine, shown, folds=path is not None and not read_only)

    def close(self) -> None:
        """Let go of the database; of SQLite's, the file alone then holds everything."""
        try:
            if self._folds and not fold_log(self._engine):
                log.warning(
                    "%s: somebody is reading it, so the last changes stay in %s-wal until the next command "
                    "that writes; copy or commit both",
                    self._shown,
                    self._shown,
                )
        except SQLAlchemyError as error:
            log.warning("%s: its log could not be folded in: %s", self._shown, _words(error))
        finally:
            self._engine.dispose()

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
        with self._writing() as session:
            return [queries.add_task(session, declared) for declared in declarations]

    def tasks(self) -> list[Task]:
        """Every version of every task, in the order they were added."""
        with self._reading() as session:
            return [rows.task(row) for row in session.scalars(select(TaskRow).order_by(TaskRow.id))]

    def task(self, name: str) -> Task:
        """The newest version of 'name', or the version of 'name@2'.

        Raises: UnknownTask, with the nearest name.
        """
        plain, _, version = name.partition("@")
        with self._reading() as session:
            known = queries.task_rows(session, plain)
            wanted = [row for row in known if not version or str(row.version) == version]
            if not wanted:
                names = [rows.task(row).label for row in known] or list(session.scalars(select(TaskRow.name)))
                raise UnknownTask(f"'{name}'.{suggestion(name, names)} See: lori-cl tasks")
            return rows.task(wanted[-1])

    def find_task(self, name: str) -> Task | None:
        """The newest version of a task, or None where nobody added it."""
        with self._reading() as session:
            known = queries.task_rows(session, name)
            return rows.task(known[-1]) if known else None

    def begin_run(self, start: RunStart) -> Run:
        """Register a run that has not begun yet."""
        with self._writing() as session:
            model = start.curriculum["model"]
            row = RunRow(
                name=start.name,
                curriculum=dict(start.curriculum),
                method=start.curriculum["method"],
                seed=start.curriculum["seed"],
                base_path=model["path"],
                base_revision=model["revision"],
                base_digest=start.base_digest,
                environment=queries.environment_row(session, start.environment),
                projection=rows.projection_row(start.projection),
            )
            session.add(row)
            queries.append_tasks(session, row, start.tasks)
            return rows.run(row)

    def plan_tasks(self, name: str, curriculum: Mapping[str, Any], tasks: Sequence[Task]) -> Run:
        """Put these tasks after those that the run has learned, in place of what was planned there."""
        with self._writing() as session:
            row = queries.run_row(session, name)
            row.curriculum = dict(curriculum)
            for planned in row.tasks[len(row.stages) :]:
                row.tasks.remove(planned)
                session.delete(planned)
            session.flush()
            queries.append_tasks(session, row, tasks)
            return rows.run(row)

    def runs(self) -> list[Run]:
        """Every run, in the order they began."""
        with self._reading() as session:
            return [rows.run(row) for row in session.scalars(select(RunRow).order_by(RunRow.id))]

    def run(self, name: str) -> Run:
        """One run.

        Raises: UnknownRun, with the nearest name.
        """
        with self._reading() as session:
            return rows.run(queries.run_row(session, name))

    def find_run(self, name: str) -> Run | None:
        """One run, or None where it has not begun."""
        with self._reading() as session:
            row = session.scalar(select(RunRow).where(RunRow.name == name))
            return rows.run(row) if row else None

    def evaluations(self, run: str) -> list[Evaluation]:
        """Every score of a run, by stage."""
        with self._reading() as session:
            run_id = queries.run_row(session, run).id
            found = session.scalars(
                select(EvaluationRow)
                .where(EvaluationRow.run_id == run_id)
                .order_by(EvaluationRow.stage, EvaluationRow.id)
            )
            return [rows.evaluation(row) for row in found]

    def statistics(self, run: str) -> list[StatisticsRecord]:
        """What a run can tell its tasks' texts by, as far as it was gathered."""
        with self._reading() as session:
            run_id = queries.run_row(session, run).id
            found = session.scalars(
                select(TaskStatisticsRow)
                .where(TaskStatisticsRow.run_id == run_id)
                .order_by(TaskStatisticsRow.id)
            )
            return [rows.statistics(row) for row in found]

    def find_measured(self, input_digest: str) -> Evaluation | None:
        """A score that was measured, in any run, on inputs of this digest."""
        with self._reading() as session:
            row = session.scalar(
                select(EvaluationRow)
                .where(EvaluationRow.input_digest == input_digest, EvaluationRow.source == "measured")
                .order_by(EvaluationRow.id)
                .limit(1)
            )
            return rows.evaluation(row) if row else None

    def artifacts(self, digests: Collection[str]) -> dict[str, tuple[str, int]]:
        """(suffix, bytes) by digest, of those files that are registered."""
        with self._reading() as session:
            found = session.scalars(select(ArtifactRow).where(ArtifactRow.digest.in_(digests)))
            return {row.digest: (row.suffix, row.bytes) for row in found}

    def row_digests(self, run: str) -> list[tuple[str, str, str]]:
        """Of every row behind a run that bears a digest of itself: (what it is, that digest, the one of what
        stands in it)."""
        with self._reading() as session:
            return queries.row_digests(queries.run_row(session, run))

    def damage(self) -> list[str]:
        """What the database finds wrong with itself."""
        with self._reading():
            return damage(self._engine)

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
        with self._writing() as session:
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

    def retire(self, run: str, task: str) -> Stage:
        """Mark a learned task's stage as retired, from the next stage on; `task` is its label.

        Raises: UnknownRun; InputError, if the run has not learned the task, or it is retired already.
        """
        with self._writing() as session:
            row = queries.run_row(session, run)
            stage = next((s for s in row.stages if rows.task(s.task).label == task), None)
            if stage is None or stage.retired_after is not None:
                what = "has not learned" if stage is None else "has retired already"
                raise InputError(f"run '{run}' {what} '{task}'. See: lori-cl capacity {run}")
            stage.retired_after = len(row.stages)
            stage.retired_at = now()
            session.flush()
            return rows.stage(stage)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        try:
            engine = self._engine.execution_options(**{WRITES: True})
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            if isinstance(error, IntegrityError) and "unique" in _words(error).lower():
                raise RunConflict(
                    f"another process wrote the same to {self._shown} meanwhile ({_words(error)}); "
                    "what was committed stays: look at lori-cl runs, and call it again"
                ) from error
            raise WorkspaceUnusable(
                f"{self._shown} cannot be written: {_words(error)}; what was committed before stays"
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session:
                yield session
        except SQLAlchemyError as error:
            raise WorkspaceUnusable(f"{self._shown} cannot be read: {_words(error)}") from error
        except UnicodeEncodeError as error:
            raise InputError(f"{error.object!r} is no name: it holds bytes that are no text") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
        raise WorkspaceUnusable(f"{str(path)[:80]} cannot be opened: {error}") from None


def _shown(url: str | URL) -> str:
    """The database as it may be shown: a file's path, or a URL without its password."""
    parsed = parse_url(url)
    path = sqlite_file(parsed)
    return str(path) if path is not None else parsed.set(query={}).render_as_string(hide_password=True)


def _words(error: SQLAlchemyError | OSError | UnicodeDecodeError) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    return reason(error) if isinstance(error, SQLAlchemyError) else str(error)
