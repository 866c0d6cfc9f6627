"""Registries of every schema there was, and of one there is not yet."""

from __future__ import annotations

import errno
import stat
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Workspace, backup
from lori_cl.registry.connect import connect, parse_url
from lori_cl.registry.migrate import MIGRATIONS
from lori_cl.registry.rows import in_utc
from lori_cl.registry.tables import SCHEMA, Base
from tests.postgres import PASSWORD, Postgres, find_binaries

from .registry_records import (
    add,
    contents,
    database,
    evaluation,
    everything,
    files_of,
    on_sqlite,
    rows_of,
    run_start,
    sha,
    stage,
    without_times,
)

REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
"""From the newest to the first."""

EARLIER = REVISIONS[1:]
OUTDATED = (
    rf"has schema {{}} and lori_cl \S+ works with {SCHEMA}; bring it up to date: lori-cl registry upgrade"
)

Rows = Mapping[str, list[dict[str, Any]]]
Make = Callable[[str], Workspace]


@pytest.fixture(scope="session")
def held_today(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A registry of today's schema, with a run of two tasks that has learned the first."""
    made = Workspace(tmp_path_factory.mktemp("today"))
    made.create()
    with made.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2", "agnews")))
        base = [evaluation(task, stage=0, view="base") for task in ("sst2", "agnews")]
        registry.commit_stage("first", None, base, files_of())
        registry.commit_stage("first", stage("sst2"), [evaluation("sst2")], files_of(1))
    return made


@pytest.fixture
def make_old(unmade: Workspace, held_today: Workspace) -> Make:
    """Make a registry of an earlier schema that holds as much of the same rows as it can."""

    def make(revision: str) -> Workspace:
        unmade.root.mkdir()
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        old = connect(parse_url(unmade.url or f"sqlite:///{unmade.root / 'registry.db'}"), read_only=False)
        old.prepare()
        with old.changing_tables() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            fill(connection, rows_in(held_today))
        old.close()
        return unmade

    return make


def rows_in(workspace: Workspace) -> Rows:
    """Every row of every table."""
    tables = sa.MetaData()
    with database(workspace) as engine, engine.connect() as connection:
        tables.reflect(connection)
        return {
            table.name: [
                {k: in_utc(v) if isinstance(v, datetime) else v for k, v in row._mapping.items()}
                for row in connection.execute(sa.select(table))
            ]
            for table in tables.sorted_tables
        }


def fill(connection: sa.Connection, rows: Rows) -> None:
    """Insert the rows as far as there are tables and columns for them."""
    tables = sa.MetaData()
    tables.reflect(connection)
    for table in tables.sorted_tables:
        if table.name == "alembic_version" or not rows[table.name]:
            continue
        columns = set(table.columns.keys())
        kept = [{k: v for k, v in row.items() if k in columns} for row in rows[table.name]]
        connection.execute(table.insert(), kept)
        if connection.dialect.name == "postgresql" and "id" in columns:
            counter = f"pg_get_serial_sequence('{table.name}', 'id')"
            connection.execute(sa.text(f"SELECT setval({counter}, (SELECT max(id) FROM {table.name}))"))


@pytest.mark.parametrize("revision", EARLIER)
def test_a_registry_of_every_earlier_schema_is_refused_untouched_by_all_but_the_upgrade(
    make_old: Make, revision: str
) -> None:
    old = make_old(revision)
    before = everything(old)
    for opener in (Workspace.read, Workspace.open, Workspace.create):
        with pytest.raises(WorkspaceUnusable, match=OUTDATED.format(revision)):
            opener(old)
    found = everything(old)
    assert {name: found[name] for name in before} == before


@pytest.mark.parametrize("revision", EARLIER)
def test_a_registry_of_every_earlier_schema_has_all_it_held_after_the_upgrade_and_goes_on(
    make_old: Make, held_today: Workspace, revision: str
) -> None:
    old = make_old(revision)
    done = old.upgrade()
    assert (done.before, done.now) == (revision, SCHEMA)
    with held_today.read() as today, old.read() as upgraded:
        assert without_times(upgraded.run("first")) == without_times(today.run("first"))
        assert upgraded.evaluations("first") == today.evaluations("first")
        assert upgraded.tasks() == today.tasks()
    with old.open() as registry:
        registry.commit_stage("first", stage("agnews", 2, sha("stage 1")), [], files_of(2))
        assert registry.run("first").status == "done"


@pytest.mark.parametrize("revision", EARLIER)
def test_an_upgraded_registry_has_exactly_the_tables_that_the_code_uses(
    make_old: Make, revision: str
) -> None:
    old = make_old(revision)
    old.upgrade()
    with database(old) as engine, engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


@on_sqlite
@pytest.mark.parametrize("revision", EARLIER)
def test_a_sqlite_registry_is_kept_beside_itself_as_it_was(make_old: Make, revision: str) -> None:
    old = make_old(revision)
    (old.root / "registry.db").chmod(0o600)
    before = rows_in(old)
    kept = old.upgrade().backup
    assert kept is not None
    assert kept.parent == old.root
    assert kept.name.startswith(f"registry-schema-{revision}-{datetime.now(UTC).year}")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert rows_in(Workspace(old.root, f"sqlite:///{kept}")) == before
    assert rows_of(Workspace(old.root, f"sqlite:///{kept}"), "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("revision", EARLIER)
def test_a_postgresql_registry_is_kept_in_the_workspace_as_it_was(
    make_old: Make, postgres: Postgres, revision: str
) -> None:
    old = make_old(revision)
    before = rows_in(old)
    kept = old.upgrade().backup
    assert kept is not None
    assert kept.parent == old.root
    assert revision in kept.name
    binaries = find_binaries()
    assert binaries is not None
    with postgres.database() as url:
        address = url.replace("+psycopg", "")
        subprocess.run([binaries / "pg_restore", "--dbname", address, kept], check=True)
        assert rows_in(Workspace(old.root, url)) == before


def test_an_upgrade_of_todays_registry_does_nothing(unmade: Workspace) -> None:
    unmade.create()
    before = everything(unmade)
    done = unmade.upgrade()
    assert (done.before, done.now, done.backup) == (SCHEMA, SCHEMA, None)
    assert everything(unmade) == before


def test_where_no_registry_is_there_is_nothing_to_upgrade(unmade: Workspace) -> None:
    with pytest.raises(WorkspaceUnusable, match=r"no registry at .*; make one: lori-cl init"):
        unmade.upgrade()
    assert not unmade.root.exists()


def test_a_backup_that_is_there_is_never_overwritten(make_old: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 11, 21, 12, tzinfo=UTC)

    monkeypatch.setattr(backup, "datetime", Noon)
    old = make_old("0001")
    suffix = "db" if old.url is None else "dump"
    there = old.root / f"registry-schema-0001-2026-11-21T120000Z.{suffix}"
    there.write_text("precious")
    before = everything(old)
    with pytest.raises(WorkspaceUnusable, match=f"{there.name} cannot be made: File exists"):
        old.upgrade()
    assert everything(old) == before


def test_an_upgrade_that_breaks_off_leaves_the_registry_as_it_was_and_can_be_repeated(
    make_old: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_old("0001")
    before = rows_in(old)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", full)
        with pytest.raises(WorkspaceUnusable, match=r"registry.* cannot be written: No space left"):
            old.upgrade(backup=False)
    assert rows_in(old) == before
    assert old.upgrade(backup=False).now == SCHEMA


@on_sqlite
def test_a_sqlite_registry_that_cannot_be_copied_is_not_upgraded(
    make_old: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_old("0001")
    before = contents(old.root)

    def full(*_: Any) -> None:
        raise WorkspaceUnusable("disk full")

    monkeypatch.setattr(backup, "_copy", full)
    with pytest.raises(WorkspaceUnusable, match="disk full"):
        old.upgrade()
    assert contents(old.root) == before


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "a PostgreSQL registry needs pg_dump on the PATH"),
        ("#!/bin/sh\necho pg_dump: error: no >&2\nexit 1\n", "cannot be backed up: pg_dump: error: no"),
    ],
    ids=["missing", "failing"],
)
def test_a_postgresql_registry_that_cannot_be_dumped_is_upgraded_without_a_backup_only(
    make_old: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, said: str
) -> None:
    old = make_old("0001")
    (tmp_path / "bin").mkdir()
    if program is not None:
        (tmp_path / "bin" / "pg_dump").write_text(program)
        (tmp_path / "bin" / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    before = everything(old)
    with pytest.raises(WorkspaceUnusable, match=f"{said}.* lori-cl registry upgrade --no-backup"):
        old.upgrade()
    assert everything(old) == before
    assert old.upgrade(backup=False).now == SCHEMA


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("in_query", [False, True])
def test_pg_dump_is_given_the_password_where_no_other_process_sees_it(
    make_old: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_query: bool
) -> None:
    old = make_old("0001")
    url = sa.make_url(old.url or "")
    if in_query:
        query = {"user": "lori", "password": PASSWORD}
        url = sa.URL.create(url.drivername, None, None, url.host, url.port, url.database, query)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pg_dump"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho "$PGPASSWORD" > {tmp_path}/password\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    Workspace(old.root, url.render_as_string(hide_password=False)).upgrade()
    assert (tmp_path / "password").read_text() == f"{PASSWORD}\n"
    arguments = (tmp_path / "arguments").read_text()
    assert str(url.database) in arguments
    assert "s3cr" not in arguments
