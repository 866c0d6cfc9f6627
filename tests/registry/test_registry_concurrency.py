from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Registry, Run, Workspace, server, sqlite

from .registry_records import (
    add,
    eval_set,
    evaluation,
    files_of,
    rows_of,
    run_start,
    sha,
    stage,
    task_spec,
)
from .writers import STAGES

WRITERS = ["first", "second", "third"]


@pytest.fixture
def slow_queries() -> Iterator[None]:
    """Delay every SELECT by 20 ms, so that other writers can run between it and the statements after it."""

    def delay(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            time.sleep(0.02)

    event.listen(Engine, "after_cursor_execute", delay)
    yield
    event.remove(Engine, "after_cursor_execute", delay)


def write_concurrently(workspace: Workspace, write: Callable[[Registry, str], object]) -> None:
    """Let all writers write at the same time, each through its own registry."""

    def with_own_registry(name: str) -> None:
        with workspace.open() as registry:
            write(registry, name)

    with ThreadPoolExecutor(len(WRITERS)) as pool:
        list(pool.map(with_own_registry, WRITERS))


@pytest.mark.usefixtures("slow_queries")
def test_concurrently_added_tasks_that_share_an_eval_set_are_all_stored(workspace: Workspace) -> None:
    write_concurrently(
        workspace, lambda registry, name: registry.add_task(task_spec(name), eval_set(), "tasks")
    )
    with workspace.read() as registry:
        assert sorted(task.name for task in registry.tasks()) == WRITERS


@pytest.mark.usefixtures("slow_queries")
def test_task_added_concurrently_by_several_writers_is_one_version(workspace: Workspace) -> None:
    write_concurrently(
        workspace, lambda registry, _: registry.add_task(task_spec("sst2"), eval_set(), "tasks")
    )
    with workspace.read() as registry:
        assert [task.label for task in registry.tasks()] == ["sst2"]


@pytest.mark.usefixtures("slow_queries")
def test_runs_started_concurrently_in_one_environment_are_all_stored(workspace: Workspace) -> None:
    with workspace.open() as registry:
        tasks = add(registry, "sst2")
    write_concurrently(workspace, lambda registry, name: registry.begin_run(run_start(tasks, name)))
    with workspace.read() as registry:
        assert sorted(run.name for run in registry.runs()) == WRITERS


@pytest.mark.usefixtures("slow_queries")
def test_stages_committed_concurrently_with_the_same_answers_are_all_stored(
    workspace: Workspace,
) -> None:
    with workspace.open() as registry:
        tasks = add(registry, "sst2")
        for name in WRITERS:
            registry.begin_run(run_start(tasks, name))
    scores = [evaluation("sst2")]
    write_concurrently(
        workspace, lambda registry, name: registry.commit_stage(name, stage("sst2"), scores, files_of(1))
    )
    with workspace.read() as registry:
        assert [registry.run(name).status for name in WRITERS] == ["done"] * 3
        assert [registry.evaluations(name) for name in WRITERS] == [scores] * 3


def test_eight_concurrent_writer_processes_lose_nothing(workspace: Workspace, backend: str) -> None:
    names = [f"run-{number}" for number in range(8)]
    command = [
        sys.executable,
        "-m",
        "tests.registry.writers",
        str(workspace.root),
        workspace.url or "",
        *names,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "locked" not in done.stderr
    with workspace.read() as registry:
        runs = {run.name: run for run in registry.runs()}
        assert {name: run.status for name, run in runs.items()} == dict.fromkeys(names, "done")
        assert sorted(task.label for task in registry.tasks()) == sorted(
            {task.label for run in runs.values() for task in run.tasks}
        )
        for name, run in runs.items():
            for committed in run.stages:
                content = f"stage {committed.position} of {name}".encode()
                assert workspace.artifacts.get(committed.artifact, "safetensors") == content
            assert [score.stage for score in registry.evaluations(name)] == list(range(1, STAGES + 1))
    if backend == "sqlite":
        assert rows_of(workspace, "PRAGMA integrity_check") == [("ok",)]
        assert rows_of(workspace, "PRAGMA foreign_key_check") == []
        assert sorted(path.name for path in workspace.root.glob("registry.db*")) == ["registry.db"]


def test_lock_timeout_is_reported_as_another_process_holding_the_registry(
    workspace: Workspace, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT_MS", 100)
    monkeypatch.setattr(server, "LOCK_TIMEOUT_MS", 100)

    def write_concurrently_with_insert(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO tasks"):
            with workspace.open() as second, pytest.raises(WorkspaceUnusable) as refused:
                second.add_task(task_spec("agnews"), eval_set("agnews"), "tasks")
            raise refused.value

    event.listen(Engine, "after_cursor_execute", write_concurrently_with_insert)
    try:
        with pytest.raises(
            WorkspaceUnusable, match="cannot be written: another process has held the lock"
        ) as raised:
            add(registry, "sst2")
    finally:
        event.remove(Engine, "after_cursor_execute", write_concurrently_with_insert)
    assert "locked" not in str(raised.value)
    assert registry.tasks() == []


def test_reader_does_not_wait_for_an_open_write_transaction(workspace: Workspace) -> None:
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
    seen: list[int] = []

    def read_during_insert(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO stages"):
            with workspace.read() as reader:
                seen.append(len(reader.run("first").stages))

    with workspace.open() as registry:
        event.listen(Engine, "after_cursor_execute", read_during_insert)
        try:
            registry.commit_stage("first", stage("sst2"), [], {sha("stage 1"): ("safetensors", 64)})
        finally:
            event.remove(Engine, "after_cursor_execute", read_during_insert)
        assert seen == [0]
        assert len(registry.run("first").stages) == 1


def test_reader_sees_a_consistent_snapshot_of_a_run_during_writes(
    workspace: Workspace,
) -> None:
    with workspace.open() as registry:
        (agnews, qqp) = add(registry, "agnews", "qqp")
        before = registry.begin_run(run_start((agnews,)))
        start = run_start((qqp,))
    written: list[Run] = []

    def write_during_read(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM run_tasks" in statement and not written:
            written.append(before)
            with workspace.open() as writer:
                writer.plan_tasks("first", start.curriculum, (qqp,))
                writer.commit_stage("first", stage("qqp"), [], files_of(1))
                written.append(writer.run("first"))

    with workspace.read() as reader:
        event.listen(Engine, "after_cursor_execute", write_during_read)
        try:
            seen = reader.run("first")
        finally:
            event.remove(Engine, "after_cursor_execute", write_during_read)
        assert seen in written
        assert reader.run("first") == written[-1]
