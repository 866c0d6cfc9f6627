"""Upgrade registries of every earlier schema."""

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
from lori_cl.registry.receipt import Receipt
from lori_cl.registry.tables import SCHEMA, Base, in_utc
from tests.nightly import only_in_ci
from tests.postgres import PASSWORD, Postgres, find_binaries

from .registry_records import (
    add,
    contents,
    curriculum,
    database,
    evaluation,
    files_of,
    on_sqlite,
    rows_of,
    run_start,
    sha,
    snapshot,
    stage,
    without_times,
)

REVISIONS = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
"""All revisions, newest first."""

EARLIER = REVISIONS[1:]
TRIED = only_in_ci({EARLIER[0], EARLIER[-1]}, EARLIER)
"""The newest and the oldest; the others are tried in the nightly job."""
OUTDATED = rf"has schema {{}}; lori_cl \S+ needs schema {SCHEMA}\. Upgrade it: lori-cl registry upgrade"

HEAD_IN_SCHEMA_5 = "7826a9c412baf59cca72d255c32b45dbab43f57fe1dd7c40965e2b208af71f7c"
"""Head of the first stage of `current_workspace`, computed by the version that stored `proved`."""
SCORE_IN_SCHEMA_5 = "75349f0735e5ffadf919fe74011042efa9aa3c2cddc28a12d549621495e798ce"
"""Digest of its cached score in a receipt, computed by the same version."""

Rows = Mapping[str, list[dict[str, Any]]]
Make = Callable[[str], Workspace]


@pytest.fixture(scope="session")
def current_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a registry of the current schema, with a run of two tasks of which the first is trained.

    One of its scores is cached.
    """
    made = Workspace(tmp_path_factory.mktemp("today"))
    made.create()
    with made.open() as registry:
        tasks = add(registry, "sst2", "agnews")
        views = {"eval": {"views": ["current", "as_trained"]}}
        registry.begin_run(run_start(tasks, curriculum={**curriculum(tasks), **views}))
        base = [evaluation(task, stage=0, view="base") for task in ("sst2", "agnews")]
        registry.commit_stage("first", None, base, files_of())
        scores = [evaluation("sst2"), evaluation("sst2", view="as_trained", source="cached")]
        registry.commit_stage("first", stage("sst2"), scores, files_of(1))
    return made


@pytest.fixture
def make_old(uncreated_workspace: Workspace, current_workspace: Workspace) -> Make:
    """Make a registry of an earlier schema with the same rows, as far as its columns allow."""

    def make(revision: str) -> Workspace:
        uncreated_workspace.root.mkdir()
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        old = connect(
            parse_url(uncreated_workspace.url or f"sqlite:///{uncreated_workspace.root / 'registry.db'}"),
            read_only=False,
        )
        old.prepare()
        with old.changing_tables() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            fill(connection, rows_of_schema(revision, rows_in(current_workspace)))
        old.close()
        return uncreated_workspace

    return make


def rows_in(workspace: Workspace) -> Rows:
    """Return every row of every table."""
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


def rows_of_schema(revision: str, rows: Rows) -> Rows:
    """Return the rows with the words that an earlier schema stored."""
    if revision >= "0006":
        return rows
    scores = [
        {**row, "source": "proved"} if row["source"] == "cached" else row for row in rows["evaluations"]
    ]
    return {**rows, "evaluations": scores}


def fill(connection: sa.Connection, rows: Rows) -> None:
    """Insert the rows into the tables and columns that exist."""
    tables = sa.MetaData()
    tables.reflect(connection)
    for table in tables.sorted_tables:
        if table.name == "alembic_version" or not rows[table.name]:
            continue
        columns = set(table.columns.keys())
        stored = [{k: v for k, v in row.items() if k in columns} for row in rows[table.name]]
        connection.execute(table.insert(), stored)
        if connection.dialect.name == "postgresql" and "id" in columns:
            counter = f"pg_get_serial_sequence('{table.name}', 'id')"
            connection.execute(sa.text(f"SELECT setval({counter}, (SELECT max(id) FROM {table.name}))"))


@pytest.mark.parametrize("revision", TRIED)
def test_registry_of_an_earlier_schema_is_refused_until_it_is_upgraded(make_old: Make, revision: str) -> None:
    old = make_old(revision)
    before = snapshot(old)
    for opener in (Workspace.read, Workspace.open, Workspace.create):
        with pytest.raises(WorkspaceUnusable, match=OUTDATED.format(revision)):
            opener(old)
    found = snapshot(old)
    assert {name: found[name] for name in before} == before


@pytest.mark.parametrize("revision", TRIED)
def test_upgraded_registry_keeps_its_data_and_its_runs_resume(
    make_old: Make, current_workspace: Workspace, revision: str
) -> None:
    old = make_old(revision)
    done = old.upgrade()
    assert (done.before, done.now) == (revision, SCHEMA)
    with current_workspace.read() as today, old.read() as upgraded:
        assert without_times(upgraded.run("first")) == without_times(today.run("first"))
        assert upgraded.evaluations("first") == today.evaluations("first")
        assert upgraded.tasks() == today.tasks()
    with old.open() as registry:
        registry.commit_stage("first", stage("agnews", 2, sha("stage 1")), [], files_of(2))
        assert registry.run("first").status == "done"


def test_receipt_of_a_run_stays_the_same_when_its_registry_is_upgraded(
    make_old: Make, current_workspace: Workspace
) -> None:
    old = make_old("0005")
    assert rows_of(old, "SELECT DISTINCT source FROM evaluations ORDER BY 1") == [("measured",), ("proved",)]
    old.upgrade()
    assert rows_of(old, "SELECT DISTINCT source FROM evaluations ORDER BY 1") == [("cached",), ("measured",)]
    with old.read() as registry:
        receipt = Receipt.of(registry.run("first"), registry.score_log("first"))
    assert receipt.head == HEAD_IN_SCHEMA_5
    assert receipt.scores[-1].digest == SCORE_IN_SCHEMA_5


@pytest.mark.parametrize("revision", TRIED)
def test_upgraded_registry_has_exactly_the_tables_of_the_current_schema(
    make_old: Make, revision: str
) -> None:
    old = make_old(revision)
    old.upgrade()
    with database(old) as engine, engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


@on_sqlite
@pytest.mark.parametrize("revision", TRIED)
def test_backup_of_a_sqlite_registry_is_a_complete_copy_in_the_same_folder(
    make_old: Make, revision: str
) -> None:
    old = make_old(revision)
    (old.root / "registry.db").chmod(0o600)
    before = rows_in(old)
    backup_file = old.upgrade().backup
    assert backup_file is not None
    assert backup_file.parent == old.root
    assert backup_file.name.startswith(f"registry-schema-{revision}-{datetime.now(UTC).year}")
    assert stat.S_IMODE(backup_file.stat().st_mode) == 0o600
    assert rows_in(Workspace(old.root, f"sqlite:///{backup_file}")) == before
    assert rows_of(Workspace(old.root, f"sqlite:///{backup_file}"), "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("revision", TRIED)
def test_backup_of_a_postgresql_registry_restores_the_earlier_rows(
    make_old: Make, postgres: Postgres, revision: str
) -> None:
    old = make_old(revision)
    before = rows_in(old)
    backup_file = old.upgrade().backup
    assert backup_file is not None
    assert backup_file.parent == old.root
    assert revision in backup_file.name
    binaries = find_binaries()
    assert binaries is not None
    with postgres.database() as url:
        address = url.replace("+psycopg", "")
        subprocess.run([binaries / "pg_restore", "--dbname", address, backup_file], check=True)
        assert rows_in(Workspace(old.root, url)) == before


def test_upgrading_a_current_registry_does_nothing(uncreated_workspace: Workspace) -> None:
    uncreated_workspace.create()
    before = snapshot(uncreated_workspace)
    done = uncreated_workspace.upgrade()
    assert (done.before, done.now, done.backup) == (SCHEMA, SCHEMA, None)
    assert snapshot(uncreated_workspace) == before


def test_upgrading_a_missing_registry_is_an_error_that_names_init(uncreated_workspace: Workspace) -> None:
    with pytest.raises(WorkspaceUnusable, match=r"no registry at .*; create one: lori-cl init"):
        uncreated_workspace.upgrade()
    assert not uncreated_workspace.root.exists()


def test_existing_backup_is_never_overwritten(make_old: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class FixedClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 11, 21, 12, tzinfo=UTC)

    monkeypatch.setattr(backup, "datetime", FixedClock)
    old = make_old("0001")
    suffix = "db" if old.url is None else "dump"
    existing = old.root / f"registry-schema-0001-2026-11-21T120000Z.{suffix}"
    existing.write_text("precious")
    before = snapshot(old)
    with pytest.raises(WorkspaceUnusable, match=f"{existing.name} cannot be created: File exists"):
        old.upgrade()
    assert snapshot(old) == before


def test_failed_upgrade_leaves_the_registry_unchanged_and_can_be_repeated(
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
    ("program", "message"),
    [
        (None, "a PostgreSQL registry needs pg_dump on the PATH"),
        ("#!/bin/sh\necho pg_dump: error: no >&2\nexit 1\n", "cannot be backed up: pg_dump: error: no"),
    ],
    ids=["missing", "failing"],
)
def test_postgresql_registry_that_cannot_be_dumped_is_upgraded_only_with_no_backup(
    make_old: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, message: str
) -> None:
    old = make_old("0001")
    (tmp_path / "bin").mkdir()
    if program is not None:
        (tmp_path / "bin" / "pg_dump").write_text(program)
        (tmp_path / "bin" / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    before = snapshot(old)
    with pytest.raises(WorkspaceUnusable, match=f"{message}.* lori-cl registry upgrade --no-backup"):
        old.upgrade()
    assert snapshot(old) == before
    assert old.upgrade(backup=False).now == SCHEMA


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("in_query", [False, True])
def test_pg_dump_receives_the_password_in_its_environment_only(
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
