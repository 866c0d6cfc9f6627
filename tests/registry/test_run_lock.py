"""Only one process at a time can write a run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lori_cl.errors import RunConflict, UnknownRun, WorkspaceUnusable
from lori_cl.registry import Workspace

HOLDER = """
import sys
from pathlib import Path
from lori_cl.registry import Workspace
with Workspace(Path(sys.argv[1])).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def other_process(workspace: Workspace) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that locks a run until its stdin is closed."""
    started = []

    def start(run: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(workspace.root), run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_lock_conflict_names_process_host_and_start_time(
    workspace: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    holder = other_process("first")
    with pytest.raises(RunConflict) as refused, workspace.lock("first"):
        pytest.fail("locked twice")
    message = str(refused.value)
    assert f"run 'first' is locked by process {holder.pid} on {platform.node()} since " in message
    since = datetime.strptime(message.partition(" since ")[2][:23], "%Y-%m-%d %H:%M:%S UTC")
    assert before <= since.replace(tzinfo=UTC) <= datetime.now(UTC)
    assert "\n" not in message


def test_lock_of_a_dead_process_is_free_at_once(
    workspace: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = other_process("first")
    holder.kill()
    holder.wait()
    assert json.loads((workspace.root / "locks" / "first.json").read_text())["pid"] == holder.pid
    assert workspace.locked_runs() == []
    with workspace.lock("first"):
        assert json.loads((workspace.root / "locks" / "first.json").read_text())["pid"] == os.getpid()


def test_listing_locked_runs_changes_nothing(
    workspace: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = other_process("first")
    with workspace.lock("second"):
        pass
    assert workspace.locked_runs() == ["first"]
    holder.communicate()
    assert workspace.locked_runs() == []
    assert sorted(file.name for file in (workspace.root / "locks").iterdir()) == ["first.lock", "second.lock"]


def test_different_runs_can_be_locked_at_the_same_time(
    workspace: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    other_process("first")
    with workspace.lock("second"):
        assert workspace.locked_runs() == ["first", "second"]


def test_lock_is_released_after_an_error(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), workspace.lock("first"):
        raise ZeroDivisionError
    with workspace.lock("first"):
        pass


def test_lock_owner_without_a_record_is_called_another_process(workspace: Workspace) -> None:
    with workspace.lock("first"):
        (workspace.root / "locks" / "first.json").write_text("")
        with (
            pytest.raises(RunConflict, match="run 'first' is locked by another process; "),
            workspace.lock("first"),
        ):
            pytest.fail("locked twice")


def test_lock_of_a_run_with_any_name_is_in_the_locks_folder(workspace: Workspace) -> None:
    with workspace.lock("../a b/ü"):
        assert workspace.locked_runs() == ["../a b/ü"]
    assert [path.name for path in workspace.root.iterdir()] == ["locks"]


def test_error_about_an_unwritable_locks_folder_names_the_folder(workspace: Workspace) -> None:
    (workspace.root / "locks").write_text("no folder")
    with (
        pytest.raises(WorkspaceUnusable, match="locks cannot be written: ") as refused,
        workspace.lock("first"),
    ):
        pytest.fail("locked")
    assert str(workspace.root) in str(refused.value)


def test_opening_an_unknown_run_leaves_no_lock(sqlite_workspace: Workspace) -> None:
    with pytest.raises(UnknownRun), sqlite_workspace.open_locked("nobody"):
        pytest.fail("locked")
    assert not (sqlite_workspace.root / "locks").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_file_system_without_flock_is_refused_and_leaves_no_stale_lock(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with workspace.lock("first"):
        pass
    monkeypatch.setattr(fcntl, "flock", no_flock)
    for attempt in (lambda: workspace.lock("second").__enter__(), workspace.locked_runs):
        with pytest.raises(WorkspaceUnusable, match="on a file system without flock"):
            attempt()
    monkeypatch.undo()
    with workspace.lock("second"):
        pass
