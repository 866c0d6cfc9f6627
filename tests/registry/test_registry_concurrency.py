from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event

from lori_cl.registry import Registry, Run, Workspace

from .registry_records import add, eval_set, evaluation, files_of, run_start, sha, stage, task_spec

WRITERS = ["first", "second", "third"]


@pytest.fixture
def slow_questions() -> Iterator[None]:
    """Every SELECT takes 20 ms, so that other writers may come between it and what follows from it."""

    def linger(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            time.sleep(0.02)

    event.listen(Engine, "after_cursor_execute", linger)
    yield
    event.remove(Engine, "after_cursor_execute", linger)


def at_once(workspace: Workspace, write: Callable[[Registry, str], object]) -> None:
    """Each writer writes through a registry of its own, all at the same time."""

    def with_own_registry(name: str) -> None:
        with workspace.open() as registry:
            write(registry, name)

    with ThreadPoolExecutor(len(WRITERS)) as pool:
        list(pool.map(with_own_registry, WRITERS))


@pytest.mark.usefixtures("slow_questions")
def test_tasks_added_at_once_over_one_eval_set_are_all_there(workspace: Workspace) -> None:
    at_once(workspace, lambda registry, name: registry.add_task(task_spec(name), eval_set(), "tasks"))
    with workspace.read() as registry:
        assert sorted(task.name for task in registry.tasks()) == WRITERS


@pytest.mark.usefixtures("slow_questions")
def test_one_task_added_at_once_by_several_is_one_version(workspace: Workspace) -> None:
    at_once(workspace, lambda registry, _: registry.add_task(task_spec("sst2"), eval_set(), "tasks"))
    with workspace.read() as registry:
        assert [task.label for task in registry.tasks()] == ["sst2"]


@pytest.mark.usefixtures("slow_questions")
def test_runs_begun_at_once_in_one_environment_are_all_there(workspace: Workspace) -> None:
    with workspace.open() as registry:
        tasks = add(registry, "sst2")
    at_once(workspace, lambda registry, name: registry.begin_run(run_start(tasks, name)))
    with workspace.read() as registry:
        assert sorted(run.name for run in registry.runs()) == WRITERS


@pytest.mark.usefixtures("slow_questions")
def test_stages_of_several_runs_committed_at_once_with_the_same_answers_are_all_there(
    workspace: Workspace,
) -> None:
    with workspace.open() as registry:
        tasks = add(registry, "sst2")
        for name in WRITERS:
            registry.begin_run(run_start(tasks, name))
    scores = [evaluation("sst2")]
    at_once(workspace, lambda registry, name: registry.commit_stage(name, stage("sst2"), scores, files_of(1)))
    with workspace.read() as registry:
        assert [registry.run(name).status for name in WRITERS] == ["done"] * 3
        assert [registry.evaluations(name) for name in WRITERS] == [scores] * 3


def test_two_processes_that_write_runs_of_their_own_lose_nothing(workspace: Workspace) -> None:
    tasks_per_writer = 4
    script = (
        "import sys; from pathlib import Path\n"
        "from lori_cl.registry import MaskRecord, RunStart, Stage, Workspace\n"
        "from lori_cl.registry.records import Evaluation\n"
        "root, me = Path(sys.argv[1]), sys.argv[2]\n"
        "sys.stdin.readline()\n"
        f"with Workspace(root, {workspace.url!r}).open() as registry:\n"
        "    tasks = tuple(registry.add_task({'name': f'{me}-{i}', 'kind': 'k', 'metric': 'm', 'seed': 0},\n"
        f"        (f'{{me}}-{{i}}', 1, 1), 'tasks')[0] for i in range({tasks_per_writer}))\n"
        "    curriculum = {'method': 'lori', 'seed': 0, 'model': {'path': 'p', 'revision': None}}\n"
        "    registry.begin_run(RunStart(me, curriculum, tasks, 'base', None, {'me': me}))\n"
        "    for i, task in enumerate(tasks):\n"
        "        stage = Stage(i + 1, task.label, f'{me} stage {i}', *[None] * 2, 'd', *[1] * 7, {})\n"
        "        registry.commit_stage(me, stage, [], {f'{me} stage {i}': ('safetensors', 1)})\n"
    )
    writers = {
        name: subprocess.Popen(
            [sys.executable, "-c", script, str(workspace.root), name], stdin=subprocess.PIPE, text=True
        )
        for name in WRITERS[:2]
    }
    for process in writers.values():
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    codes = [process.wait(timeout=60) for process in writers.values()]
    for process in writers.values():
        assert process.stdin is not None
        process.stdin.close()
    assert codes == [0, 0]
    with workspace.read() as registry:
        assert {run.name: run.status for run in registry.runs()} == {"first": "done", "second": "done"}
        assert len(registry.tasks()) == 2 * tasks_per_writer
        assert registry.run("second").stages[-1].artifact == "second stage 3"


def test_a_reader_is_not_held_up_by_a_writer_in_mid_transaction(workspace: Workspace) -> None:
    with workspace.open() as registry:
        registry.begin_run(run_start(add(registry, "sst2")))
    seen: list[int] = []

    def read_along(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO stages"):
            with workspace.read() as reader:
                seen.append(len(reader.run("first").stages))

    with workspace.open() as registry:
        event.listen(Engine, "after_cursor_execute", read_along)
        try:
            registry.commit_stage("first", stage("sst2"), [], {sha("stage 1"): ("safetensors", 64)})
        finally:
            event.remove(Engine, "after_cursor_execute", read_along)
        assert seen == [0]
        assert len(registry.run("first").stages) == 1


def test_a_reader_sees_a_run_as_it_stood_at_one_moment_though_it_is_written_meanwhile(
    workspace: Workspace,
) -> None:
    with workspace.open() as registry:
        (agnews, qqp) = add(registry, "agnews", "qqp")
        before = registry.begin_run(run_start((agnews,)))
        start = run_start((qqp,))
    written: list[Run] = []

    def go_on(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM run_tasks" in statement and not written:
            written.append(before)
            with workspace.open() as writer:
                writer.plan_tasks("first", start.curriculum, (qqp,))
                writer.commit_stage("first", stage("qqp"), [], files_of(1))
                written.append(writer.run("first"))

    with workspace.read() as reader:
        event.listen(Engine, "after_cursor_execute", go_on)
        try:
            seen = reader.run("first")
        finally:
            event.remove(Engine, "after_cursor_execute", go_on)
        assert seen in written
        assert reader.run("first") == written[-1]
