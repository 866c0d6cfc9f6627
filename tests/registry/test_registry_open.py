from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lori_cl
from lori_cl.errors import RegistryTooNew, WorkspaceUnusable
from lori_cl.registry import Registry, Workspace
from lori_cl.registry.tables import SCHEMA
from lori_cl.registry.wal_copy import WalCopy

from .registry_records import add, change, contents, eval_set, on_sqlite, snapshot, task_spec

OPENERS = [Workspace.read, Workspace.open]
for_each_opener = pytest.mark.parametrize("opener", OPENERS, ids=["reading", "writing"])
Opener = Callable[[Workspace], Registry]


@on_sqlite
def test_reading_creates_no_file_and_changes_no_byte(workspace: Workspace) -> None:
    with workspace.open() as registry:
        add(registry, "sst2")
    before = contents(workspace.root)
    with workspace.read() as registry:
        assert registry.task("sst2").name == "sst2"
        assert contents(workspace.root) == before
    assert contents(workspace.root) == before


@on_sqlite
def test_writing_leaves_no_log_behind(workspace: Workspace) -> None:
    before = set(contents(workspace.root))
    with workspace.open() as registry:
        add(registry, "sst2")
    assert set(contents(workspace.root)) == before


def test_a_reader_cannot_write(workspace: Workspace) -> None:
    before = snapshot(workspace)
    with (
        workspace.read() as registry,
        pytest.raises(WorkspaceUnusable, match=r"cannot be written: .*read-?only"),
    ):
        add(registry, "sst2")
    assert snapshot(workspace) == before


def test_a_reader_sees_what_a_running_writer_has_committed(workspace: Workspace) -> None:
    with workspace.open() as writer:
        add(writer, "sst2")
        with workspace.read() as reader:
            assert [task.name for task in reader.tasks()] == ["sst2"]


def test_reader_sees_what_a_killed_writer_committed(workspace: Workspace) -> None:
    script = (
        "import os, sys; from pathlib import Path; from lori_cl.registry import Workspace\n"
        f"registry = Workspace(Path(sys.argv[1]), {workspace.url!r}).open()\n"
        f"registry.add_task({task_spec()!r}, {eval_set()!r}, 'tasks')\n"
        "os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(workspace.root)], check=False)
    assert killed.returncode == 9
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2"]


@pytest.mark.parametrize(
    "opener",
    [*OPENERS, Workspace.create, Workspace.upgrade],
    ids=["reading", "writing", "creating", "upgrading"],
)
def test_registry_of_a_newer_version_is_refused_and_unchanged(
    workspace: Workspace, opener: Callable[[Workspace], Any]
) -> None:
    change(workspace, "UPDATE alembic_version SET version_num = '9999'")
    change(workspace, "UPDATE about SET written_by = '9.8.7'")
    before = snapshot(workspace)
    with pytest.raises(RegistryTooNew) as refused:
        opener(workspace)
    message = str(refused.value)
    for value in ("9999", "9.8.7", SCHEMA, lori_cl.__version__, "pip install --upgrade lori-cl"):
        assert value in message
    assert snapshot(workspace) == before


@for_each_opener
def test_error_about_a_missing_registry_names_the_command_that_creates_one(
    tmp_path: Path, opener: Opener
) -> None:
    with pytest.raises(WorkspaceUnusable, match="lori-cl init") as refused:
        opener(Workspace(tmp_path))
    assert str(tmp_path / "registry.db") in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@for_each_opener
def test_database_of_another_program_is_refused_and_unchanged(
    uncreated_workspace: Workspace, opener: Opener
) -> None:
    uncreated_workspace.root.mkdir()
    change(uncreated_workspace, "CREATE TABLE invoices (id INTEGER)")
    before = snapshot(uncreated_workspace)
    with pytest.raises(WorkspaceUnusable, match="no registry at"):
        opener(uncreated_workspace)
    assert snapshot(uncreated_workspace) == before


@for_each_opener
def test_file_that_is_not_a_database_is_refused(tmp_path: Path, opener: Opener) -> None:
    (tmp_path / "registry.db").write_bytes(b"no database" * 1000)
    with pytest.raises(WorkspaceUnusable, match=r"registry\.db cannot be opened: file is not a database"):
        opener(Workspace(tmp_path))


@pytest.mark.parametrize("name", ["two words", "ünï", "ha#sh", "que?stion", "per%20cent", "a&mode=rw"])
def test_workspace_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    workspace = Workspace(tmp_path / name)
    workspace.create()
    with workspace.open() as registry:
        add(registry, "sst2")
    with workspace.read() as registry:
        assert [task.name for task in registry.tasks()] == ["sst2"]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["artifacts", "registry.db", "tasks"]


def test_workspace_with_a_relative_path_can_be_created_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Workspace(Path("here")).create()
    with Workspace(Path("here")).read() as registry:
        assert registry.tasks() == []


def test_url_selects_another_database(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", url=f"sqlite:///{tmp_path / 'team.db'}")
    workspace.create()
    with workspace.open() as registry:
        add(registry, "sst2")
    assert (tmp_path / "team.db").is_file()
    assert not (workspace.root / "registry.db").exists()


@on_sqlite
def test_registry_in_a_read_only_folder_is_readable(workspace: Workspace) -> None:
    with workspace.open() as registry:
        add(registry, "sst2")
    (workspace.root / "registry.db").chmod(0o444)
    workspace.root.chmod(0o555)
    before = contents(workspace.root)
    try:
        with workspace.read() as registry:
            assert [task.name for task in registry.tasks()] == ["sst2"]
    finally:
        workspace.root.chmod(0o755)
    assert contents(workspace.root) == before


def as_unprivileged_user(work: Callable[[], bool]) -> bool:
    """Return the result of `work` in an unprivileged process; root could write the read-only folder."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def read_only_log(empty_workspace: Path) -> Iterator[Workspace]:
    """Return a read-only workspace whose task is only in the registry's WAL, without the `-shm` file."""
    with tempfile.TemporaryDirectory() as folder:
        writable, root = Path(folder, "live"), Path(folder, "root")
        shutil.copytree(empty_workspace, writable)
        root.mkdir()
        with Workspace(writable).open() as registry:
            add(registry, "sst2")
            for name in ("registry.db", "registry.db-wal"):
                shutil.copyfile(writable / name, root / name)
                (root / name).chmod(0o444)
        Path(folder).chmod(0o755)
        root.chmod(0o555)
        yield Workspace(root)
        root.chmod(0o755)


def test_wal_in_a_read_only_folder_is_read_without_its_shm_file(read_only_log: Workspace) -> None:
    def names() -> list[str]:
        with read_only_log.read() as registry:
            assert registry.damage() == []
            return [task.name for task in registry.tasks()]

    before = contents(read_only_log.root)
    assert as_unprivileged_user(lambda: names() == ["sst2"])
    assert contents(read_only_log.root) == before


def test_plain_sqlite_cannot_read_a_wal_in_a_read_only_folder(read_only_log: Workspace) -> None:
    def refused() -> bool:
        uri = f"file:{read_only_log.root}/registry.db?mode=ro"
        try:
            sqlite3.connect(uri, uri=True).execute("SELECT * FROM tasks")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorname == "SQLITE_CANTOPEN"
        return False

    assert as_unprivileged_user(refused)


def test_wal_copy_follows_the_original_and_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    file = tmp_path / "a.db"
    for content in (b"one", b"another"):
        file.write_bytes(content)
        copy = copies.path() if content == b"another" else (copies := WalCopy(file)).path()
        assert copy.read_bytes() == content
    copies.close()
    assert list((tmp_path / "copies").iterdir()) == []


def test_error_about_a_failed_wal_copy_names_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.db").write_bytes(b"content")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    with pytest.raises(WorkspaceUnusable, match=r"a\.db has a write-ahead log .* set TMPDIR"):
        WalCopy(tmp_path / "a.db").path()
