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

EveryConnection = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def every_connection() -> EveryConnection:
    """Within it, every new connection first executes the statement."""

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
def test_a_full_disk_is_named_with_the_file_and_keeps_what_was_committed(
    workspace: Workspace, every_connection: EveryConnection
) -> None:
    with workspace.open() as registry:
        add(registry, "sst2")
    large = task_spec("agnews", description="x" * 1_000_000)
    with (
        every_connection("PRAGMA max_page_count = 60"),
        workspace.open() as registry,
        pytest.raises(
            WorkspaceUnusable, match=r"registry\.db cannot be written: .* full; what was committed"
        ),
    ):
        registry.add_task(large, eval_set("large"), "tasks")
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2"]


@on_sqlite
def test_a_registry_that_cannot_be_written_is_named_by_its_path(
    workspace: Workspace, every_connection: EveryConnection
) -> None:
    with (
        every_connection("PRAGMA query_only = ON"),
        workspace.open() as registry,
        pytest.raises(WorkspaceUnusable, match=r"cannot be written: .*readonly") as refused,
    ):
        add(registry, "sst2")
    assert str(workspace.root / "registry.db") in str(refused.value)


@on_sqlite
def test_a_damaged_registry_is_named_by_its_path(workspace: Workspace) -> None:
    with workspace.open() as registry:
        for i in range(50):
            registry.add_task(task_spec(f"task{i}", description="x" * 2000), eval_set(), "tasks")
    path = workspace.root / "registry.db"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 8 * 7 // 4096 * 4096])
    with (
        pytest.raises(WorkspaceUnusable, match=r"cannot be (opened|read): .*malformed") as refused,
        workspace.read() as registry,
    ):
        registry.tasks()
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("below", ["workspace", "."])
def test_a_workspace_at_or_below_a_regular_file_is_refused_by_its_path(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("no folder")
    workspace = Workspace(tmp_path / "file" / below)
    with pytest.raises(WorkspaceUnusable, match=r"cannot be made: (Not a directory|File exists)") as refused:
        workspace.create()
    assert str(workspace.root) in str(refused.value)


def test_a_database_in_a_missing_folder_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "team.db"
    workspace = Workspace(tmp_path, url=f"sqlite:///{path}")
    with pytest.raises(WorkspaceUnusable, match="cannot be opened: unable to open database file") as refused:
        workspace.create()
    assert str(path) in str(refused.value)


@on_sqlite
def test_a_full_disk_while_the_log_is_folded_in_is_a_warning_and_replaces_no_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite, "_fold_log", full)
    with pytest.raises(UnknownTask), workspace.open() as registry:  # noqa: PT012
        add(registry, "sst2")
        registry.task("agnews")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "registry.db-wal" in line
    assert line.count("database or disk is full") == 1
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2"]


def test_a_log_mode_that_cannot_be_set_is_not_waited_for_unless_another_process_is_in_the_way(
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
