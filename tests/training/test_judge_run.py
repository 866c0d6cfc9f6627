"""Runs whose answers a judge grades."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import InputError, ScoringFailed
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.verify import verify
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks.scorers import judge_client
from lori_cl.training import RunOptions, plan_curriculum, run_curriculum
from tests.tasks.judge_server import JudgeServer, judge_server

Train = Callable[..., Run]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setattr(judge_client, "FIRST_PAUSE_S", 0.0)
    with judge_server() as running:
        yield running


@pytest.fixture
def train(
    workspace: Workspace,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
    server: JudgeServer,
) -> Train:
    """Return a function that runs one task that the server grades."""

    def run(name: str = "run", job: Any = None, **options: Any) -> Any:
        judge = {
            "url": server.url,
            "model": "grader",
            "prompt": "{{ completion }} for {{ target }}?",
            "retries": 1,
        }
        register_tasks(workspace, [write_task("colours", metric="judge", judge=judge)])
        spec = load_curriculum(write_curriculum("colours"))
        if job is not None:
            return job(workspace, spec, name, RunOptions(**{"trust_tasks": True, **options}))
        return run_curriculum(
            workspace, spec, name, RunOptions(**{"trust_tasks": True, **options}), SilentProgress()
        )

    return run


def test_judge_gets_no_answer_unless_the_tasks_are_trusted(train: Train, server: JudgeServer) -> None:
    with pytest.raises(InputError, match=r"by the judge at .*, which gets every answer; .*--trust-tasks"):
        train(trust_tasks=False)
    assert server.requests == []


def test_broken_server_is_refused_before_anything_is_stored(
    train: Train, server: JudgeServer, workspace: Workspace
) -> None:
    server.script = [(500, "")] * 2
    with pytest.raises(ScoringFailed, match="answered HTTP 500"):
        train()
    assert len(server.requests) == 2
    assert not workspace.path("judge").exists()
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_planning_a_run_caches_nothing(train: Train, server: JudgeServer, workspace: Workspace) -> None:
    train(job=plan_curriculum)
    assert len(server.requests) == 1
    assert not workspace.path("judge").exists()


def test_judge_grades_a_run_and_verify_asks_nothing(
    train: Train, server: JudgeServer, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    server.grade = lambda text: '{"score": 1}' if text.startswith("red") else '{"score": 0.5}'
    with caplog.at_level(logging.INFO, "lori_cl"):
        train()
    asked = len(server.requests)
    assert "judge, this stage: " in caplog.text
    assert "prompt and" in caplog.text
    with workspace.read() as registry:
        assert set(registry.evaluations("run")[-1].outcomes) <= {0.5, 1.0}
        assert list(verify(workspace, registry, "run", SilentProgress()))
    assert len(server.requests) == asked


def test_measuring_the_same_answers_again_asks_only_the_probe(train: Train, server: JudgeServer) -> None:
    train()
    asked = len(server.requests)
    train(name="second", measure_all=True)
    assert len(server.requests) == asked + 1
