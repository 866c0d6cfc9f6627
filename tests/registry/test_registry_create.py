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
def test_a_new_workspace_holds_a_registry_and_its_two_folders(workspace: Workspace) -> None:
    assert sorted(p.name for p in workspace.root.iterdir()) == ["artifacts", "registry.db", "tasks"]


def test_create_says_whether_the_registry_is_new(unmade: Workspace) -> None:
    assert [unmade.create(), unmade.create()] == [True, False]


def test_creating_again_keeps_what_is_there(workspace: Workspace) -> None:
    with workspace.open() as registry:
        add(registry, "sst2", "agnews")
    workspace.create()
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2", "agnews"]


def test_create_prints_nothing(unmade: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    unmade.create()
    assert capfd.readouterr() == ("", "")


@on_sqlite
def test_the_registry_keeps_a_write_ahead_log(workspace: Workspace) -> None:
    assert rows_of(workspace, "PRAGMA journal_mode") == [("wal",)]


def test_foreign_keys_are_checked(registry: Registry) -> None:
    registry.begin_run(run_start(add(registry, "sst2")))
    with pytest.raises(WorkspaceUnusable, match=r"(?i)foreign key constraint"):
        registry.commit_stage("first", None, [evaluation("sst2", stage=0)], artifacts={})


def test_the_registry_says_which_schema_it_has_and_which_version_wrote_it(workspace: Workspace) -> None:
    assert rows_of(workspace, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert rows_of(workspace, "SELECT written_by FROM about") == [(lori_cl.__version__,)]


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, Base.metadata) == []


@on_sqlite
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


def test_a_creation_that_breaks_off_can_be_repeated(
    unmade: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table = op.create_table

    def full_at_tasks(name: str, *columns: Any) -> None:
        if name == "tasks":
            raise OSError(errno.ENOSPC, "No space left on device")
        make_table(name, *columns)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", full_at_tasks)
        with pytest.raises(WorkspaceUnusable, match=r"registry.* cannot be written: No space left"):
            unmade.create()
    unmade.create()
    with unmade.read() as registry:
        assert registry.tasks() == []


@on_sqlite
def test_a_stage_from_before_stages_had_an_environment_was_computed_in_its_runs(workspace: Workspace) -> None:
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
