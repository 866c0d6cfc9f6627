from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
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

from .registry_records import add, database, evaluation, files_of, on_sqlite, rows_of, run_start, stage


@pytest.fixture
def connection(workspace: Workspace) -> Iterator[sa.Connection]:
    with database(workspace) as engine, engine.connect() as opened:
        yield opened


@on_sqlite
def test_new_workspace_contains_a_registry_and_two_folders(workspace: Workspace) -> None:
    assert sorted(p.name for p in workspace.root.iterdir()) == ["artifacts", "registry.db", "tasks"]


def test_create_returns_whether_the_registry_is_new(uncreated_workspace: Workspace) -> None:
    assert [uncreated_workspace.create(), uncreated_workspace.create()] == [True, False]


def test_creating_an_existing_workspace_keeps_its_tasks(workspace: Workspace) -> None:
    with workspace.open() as registry:
        add(registry, "sst2", "agnews")
    workspace.create()
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2", "agnews"]


def test_create_prints_nothing(uncreated_workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    uncreated_workspace.create()
    assert capfd.readouterr() == ("", "")


@on_sqlite
def test_sqlite_registry_uses_a_write_ahead_log(workspace: Workspace) -> None:
    assert rows_of(workspace, "PRAGMA journal_mode") == [("wal",)]


def test_foreign_keys_are_checked(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2")))
    with pytest.raises(WorkspaceUnusable, match=r"(?i)foreign key constraint"):
        registry.commit_stage("first", None, [evaluation("sst2", stage=0)], artifacts={})


def test_registry_records_its_schema_and_the_version_that_wrote_it(workspace: Workspace) -> None:
    assert rows_of(workspace, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert rows_of(workspace, "SELECT written_by FROM about") == [(lori_cl.__version__,)]


def test_migrations_create_exactly_the_tables_of_the_current_schema(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, Base.metadata) == []


@on_sqlite
def test_names_of_constraints_and_indexes_are_unique_as_postgresql_requires(
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


def test_failed_creation_can_be_repeated(
    uncreated_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table = op.create_table

    def full_at_tasks(name: str, *columns: Any) -> None:
        if name == "tasks":
            raise OSError(errno.ENOSPC, "No space left on device")
        make_table(name, *columns)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", full_at_tasks)
        with pytest.raises(WorkspaceUnusable, match=r"registry.* cannot be written: No space left"):
            uncreated_workspace.create()
    uncreated_workspace.create()
    with uncreated_workspace.read() as registry:
        assert registry.tasks() == []


@on_sqlite
def test_stage_without_an_environment_has_the_environment_of_its_run(workspace: Workspace) -> None:
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2"), environment={"torch": "2.6"}))
        registry.commit_stage("first", stage("sst2", environment={"torch": "2.7"}), [], files_of(1))
    with sqlite3.connect(workspace.root / "registry.db") as database:
        database.execute("ALTER TABLE runs DROP COLUMN imported")
        database.execute("ALTER TABLE stages DROP COLUMN environment_id")
        database.execute("UPDATE alembic_version SET version_num = '0003'")
    database.close()
    workspace.upgrade()
    with workspace.read() as registry:
        run = registry.run("first")
    assert run.stages[0].environment is None
    assert run.stages[0].mask is not None
    assert run.environment_of(run.stages[0]) == {"torch": "2.6"}
