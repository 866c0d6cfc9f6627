from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.pool import Pool

from lori_cl.errors import UnknownTask, WorkspaceUnusable
from lori_cl.registry import Workspace, sqlite

from .registry_records import add, eval_set, on_sqlite, task_spec

ExecuteOnConnect = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def execute_on_connect() -> ExecuteOnConnect:
    """Return a context manager in which every new connection first executes a statement."""

    @contextmanager
    def executes(statement: str) -> Iterator[None]:
        def execute(connection: Any, _: Any) -> None:
            connection.execute(statement)

        event.listen(Pool, "connect", execute)
        try:
            yield
        finally:
            event.remove(Pool, "connect", execute)

    return executes


@on_sqlite
def test_full_disk_error_names_the_file_and_keeps_committed_data(
    workspace: Workspace, execute_on_connect: ExecuteOnConnect
) -> None:
    with workspace.open() as registry:
        add(registry, "sst2")
    large = task_spec("agnews", description="x" * 1_000_000)
    with (
        execute_on_connect("PRAGMA max_page_count = 60"),
        workspace.open() as registry,
        pytest.raises(
            WorkspaceUnusable, match=r"registry\.db cannot be written: .* full; data committed before is kept"
        ),
    ):
        registry.add_task(large, eval_set("large"), "tasks")
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2"]


@on_sqlite
def test_error_about_an_unwritable_registry_names_its_path(
    workspace: Workspace, execute_on_connect: ExecuteOnConnect
) -> None:
    with (
        execute_on_connect("PRAGMA query_only = ON"),
        workspace.open() as registry,
        pytest.raises(WorkspaceUnusable, match=r"cannot be written: .*readonly") as refused,
    ):
        add(registry, "sst2")
    assert str(workspace.root / "registry.db") in str(refused.value)


@on_sqlite
def test_error_about_a_damaged_registry_names_its_path(workspace: Workspace) -> None:
    with workspace.open() as registry:
        for i in range(50):
            registry.add_task(task_spec(f"task{i}", description="x" * 2000), eval_set(), "tasks")
    path = workspace.root / "registry.db"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 8 * 7 // 4096 * 4096])
    with (
        pytest.raises(WorkspaceUnusable, match=r"cannot be (opened|read): .*malformed") as refused,
        workspace.read() as registry,
    ):
        registry.tasks()
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("below", ["workspace", "."])
def test_workspace_at_or_below_a_regular_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("no folder")
    workspace = Workspace(tmp_path / "file" / below)
    with pytest.raises(
        WorkspaceUnusable, match=r"cannot be created: (Not a directory|File exists)"
    ) as refused:
        workspace.create()
    assert str(workspace.root) in str(refused.value)


def test_database_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "team.db"
    workspace = Workspace(tmp_path, url=f"sqlite:///{path}")
    with pytest.raises(WorkspaceUnusable, match="cannot be opened: unable to open database file") as refused:
        workspace.create()
    assert str(path) in str(refused.value)


@on_sqlite
def test_full_disk_during_a_wal_checkpoint_is_a_warning_and_hides_no_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite, "_checkpoint", full)
    with pytest.raises(UnknownTask), workspace.open() as registry:  # noqa: PT012
        add(registry, "sst2")
        registry.task("agnews")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "registry.db-wal" in line
    assert line.count("database or disk is full") == 1
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2"]


def test_setting_the_journal_mode_is_not_retried_after_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def cursor(self, *arguments: Any) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite.time, "sleep", lambda _: pytest.fail("waited"))
    engine = sqlite.SqliteFile(make_url(f"sqlite:///{tmp_path}/new.db"), "new.db")
    monkeypatch.setattr(engine.engine, "raw_connection", lambda: connect(":memory:", factory=Full))
    with pytest.raises(WorkspaceUnusable, match=r"new\.db cannot be written: database or disk is full"):
        engine.prepare()
