from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import lori_cl
from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Registry, Workspace
from lori_cl.registry.tables import SCHEMA, Base

from .registry_records import add, evaluation, files_of, run_start, stage


def rows_of(workspace: Workspace, sql: str) -> list[Any]:
    with closing(sqlite3.connect(workspace.root / "registry.db")) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def connection(workspace: Workspace) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{workspace.root / 'registry.db'}")
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_a_new_workspace_holds_a_registry_and_its_two_folders(workspace: Workspace) -> None:
    assert sorted(p.name for p in workspace.root.iterdir()) == ["artifacts", "registry.db", "tasks"]


def test_create_says_whether_the_registry_is_new(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert [workspace.create(), workspace.create()] == [True, False]


def test_creating_again_keeps_what_is_there(workspace: Workspace) -> None:
    with workspace.open() as registry:
        add(registry, "sst2", "agnews")
    workspace.create()
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2", "agnews"]


def test_create_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Workspace(tmp_path).create()
    assert capfd.readouterr() == ("", "")


def test_the_registry_keeps_a_write_ahead_log(workspace: Workspace) -> None:
    assert rows_of(workspace, "PRAGMA journal_mode") == [("wal",)]


def test_foreign_keys_are_checked(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2")))
    with pytest.raises(WorkspaceUnusable, match="FOREIGN KEY constraint failed"):
        registry.commit_stage("first", None, [evaluation("sst2", stage=0)], artifacts={})


def test_the_registry_says_which_schema_it_has_and_which_version_wrote_it(workspace: Workspace) -> None:
    assert rows_of(workspace, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert rows_of(workspace, "SELECT written_by FROM about") == [(lori_cl.__version__,)]


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, Base.metadata) == []


def test_every_constraint_and_index_has_a_name_of_its_own_as_postgresql_requires(
    connection: sa.Connection,
) -> None:
    inspector = sa.inspect(connection)
    names = [
        found["name"]
        for table in inspector.get_table_names()
        for found in [*inspector.get_unique_constraints(table), *inspector.get_indexes(table)]
    ]
    assert len(names) > 5
    assert sorted(names) == sorted(set(names))


def test_a_creation_that_breaks_off_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_table = op.create_table

    def full_at_tasks(name: str, *columns: Any) -> None:
        if name == "tasks":
            raise OSError(errno.ENOSPC, "No space left on device")
        make_table(name, *columns)

    workspace = Workspace(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", full_at_tasks)
        with pytest.raises(WorkspaceUnusable, match=r"registry\.db cannot be written: No space left"):
            workspace.create()
    workspace.create()
    with workspace.read() as registry:
        assert registry.tasks() == []


def test_a_registry_of_the_first_schema_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
        registry.commit_stage("first", None, [evaluation("sst2", stage=0)], files_of())
        before = registry.evaluations("first")
    with sqlite3.connect(tmp_path / "registry.db") as database:  # as the first version left it
        database.execute("ALTER TABLE evaluations DROP COLUMN parts")
        for column in ("retired_after", "retired_at", "environment_id"):
            database.execute(f"ALTER TABLE stages DROP COLUMN {column}")
        for column in ("rank", "projection", "directions"):
            database.execute(f"ALTER TABLE masks DROP COLUMN {column}")
        database.execute("DROP TABLE task_statistics")
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    with pytest.raises(WorkspaceUnusable, match=r"has schema 0001 .* bring it up to date: lori-cl init"):
        workspace.read()
    assert not workspace.create()
    with workspace.read() as registry:
        assert registry.evaluations("first") == before


def test_a_stage_from_before_stages_had_an_environment_was_computed_in_its_runs(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2"), environment={"torch": "2.6"}))
        registry.commit_stage("first", stage("sst2", environment={"torch": "2.7"}), [], files_of(1))
    with sqlite3.connect(tmp_path / "registry.db") as database:
        database.execute("ALTER TABLE stages DROP COLUMN environment_id")
        database.execute("UPDATE alembic_version SET version_num = '0003'")
    database.close()
    assert not workspace.create()
    with workspace.read() as registry:
        run = registry.run("first")
    assert run.stages[0].environment is None
    assert run.stages[0].mask is not None
    assert run.environment_of(run.stages[0]) == {"torch": "2.6"}
