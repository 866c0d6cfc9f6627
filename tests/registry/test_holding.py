"""One process at a time writes a run."""

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
with Workspace(Path(sys.argv[1])).hold(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def team(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def other_process(team: Workspace) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that holds a run until its input ends."""
    started = []

    def start(run: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(team.root), run],
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


def test_who_comes_second_is_told_which_process_holds_the_run_where_and_since_when(
    team: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    holder = other_process("first")
    with pytest.raises(RunConflict) as refused, team.hold("first"):
        pytest.fail("held twice")
    message = str(refused.value)
    assert f"run 'first' is held by process {holder.pid} on {platform.node()} since " in message
    since = datetime.strptime(message.partition(" since ")[2][:23], "%Y-%m-%d %H:%M:%S UTC")
    assert before <= since.replace(tzinfo=UTC) <= datetime.now(UTC)
    assert "\n" not in message


def test_a_run_that_a_dead_process_held_is_free_at_once(
    team: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = other_process("first")
    holder.kill()
    holder.wait()
    assert json.loads((team.root / "locks" / "first.json").read_text())["pid"] == holder.pid
    assert team.held_runs() == []
    with team.hold("first"):
        assert json.loads((team.root / "locks" / "first.json").read_text())["pid"] == os.getpid()


def test_which_runs_are_held_is_answered_and_changes_nothing(
    team: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    holder = other_process("first")
    with team.hold("second"):
        pass
    assert team.held_runs() == ["first"]
    holder.communicate()
    assert team.held_runs() == []
    assert sorted(file.name for file in (team.root / "locks").iterdir()) == ["first.lock", "second.lock"]


def test_different_runs_are_held_at_once(
    team: Workspace, other_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    other_process("first")
    with team.hold("second"):
        assert team.held_runs() == ["first", "second"]


def test_a_run_is_free_after_an_error(team: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), team.hold("first"):
        raise ZeroDivisionError
    with team.hold("first"):
        pass


def test_a_holder_that_has_not_said_who_it_is_is_another_process(team: Workspace) -> None:
    with team.hold("first"):
        (team.root / "locks" / "first.json").write_text("")
        with pytest.raises(RunConflict, match="run 'first' is held by another process; "), team.hold("first"):
            pytest.fail("held twice")


def test_a_run_of_any_name_is_held_in_the_folder_of_locks(team: Workspace) -> None:
    with team.hold("../a b/ü"):
        assert team.held_runs() == ["../a b/ü"]
    assert [path.name for path in team.root.iterdir()] == ["locks"]


def test_locks_that_cannot_be_written_are_named_by_their_folder(team: Workspace) -> None:
    (team.root / "locks").write_text("no folder")
    with pytest.raises(WorkspaceUnusable, match="locks cannot be written: ") as refused, team.hold("first"):
        pytest.fail("held")
    assert str(team.root) in str(refused.value)


def test_an_unknown_run_leaves_no_lock(sqlite_workspace: Workspace) -> None:
    with pytest.raises(UnknownRun), sqlite_workspace.open_held("nobody"):
        pytest.fail("held")
    assert not (sqlite_workspace.root / "locks").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_flock_is_refused_and_leaves_no_lock_that_outlives_its_process(
    team: Workspace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def without(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with team.hold("first"):
        pass
    monkeypatch.setattr(fcntl, "flock", without)
    for attempt in (lambda: team.hold("second").__enter__(), team.held_runs):
        with pytest.raises(WorkspaceUnusable, match="on a file system without flock"):
            attempt()
    monkeypatch.undo()
    with team.hold("second"):
        pass
