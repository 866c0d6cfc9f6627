"""Every run compares its training data with the eval set and with the task's earlier training data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import DataError, RunConflict
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum

TrainRun = Callable[..., Run]


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def run_again(workspace: Workspace, write_curriculum: Callable[..., Path]) -> Callable[..., Run]:
    """Run a curriculum of tasks that are already added."""

    def run(*tasks: str, name: str = "run", **fields: Any) -> Run:
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(workspace, spec, name, RunOptions(), SilentProgress())

    return run


def train_file(task: Path) -> Path:
    return task.parent / task.stem / "train.jsonl"


def test_train_file_replaced_by_the_eval_set_is_refused_before_training(
    workspace: Workspace, write_task: Callable[..., Path], run_again: Callable[..., Run]
) -> None:
    task = write_task("a")
    register_tasks(workspace, [task])
    shutil.copy(train_file(task).with_name("test.jsonl"), train_file(task))
    with pytest.raises(DataError, match="8 of 8 eval examples are also training examples"):
        run_again("a")
    rows = [json.loads(line) for line in train_file(task).read_text().splitlines()]
    reformatted = "".join(json.dumps({**row, "text": f"{row['text'].upper()}!"}) + "\n" for row in rows)
    train_file(task).write_text(reformatted)
    with pytest.raises(DataError, match="row 1 of split 'train' except for case"):
        run_again("a")
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_allowed_duplicates_are_used_for_training(
    workspace: Workspace, write_task: Callable[..., Path], run_again: Callable[..., Run]
) -> None:
    task = write_task("a", allow_duplicates=True)
    register_tasks(workspace, [task])
    shutil.copy(train_file(task).with_name("test.jsonl"), train_file(task))
    assert len(run_again("a").stages) == 1


@pytest.mark.parametrize("limit", [None, 12])
def test_later_run_on_changed_training_data_warns_with_both_digests(
    train_run: TrainRun,
    write_task: Callable[..., Path],
    run_again: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
    limit: int | None,
) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16, "limit": limit}
    first = train_run("a", train=train)
    run_again("a", name="same", seed=7)
    assert "training data changed" not in caplog.text
    file = train_file(write_task("a"))
    file.write_text(file.read_text().replace("it is", "it it"))
    run_again("a", name="other", seed=7)
    assert f"run 'run' was trained on digest {first.stages[0].train_digest[:16]}…" in caplog.text


def test_interrupted_stage_is_not_resumed_on_changed_training_data(
    workspace: Workspace,
    write_task: Callable[..., Path],
    run_again: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = write_task("a")
    register_tasks(workspace, [task])
    monkeypatch.setattr("lori_cl.training.stage_training.run_job", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_again("a")
    monkeypatch.undo()
    original = train_file(task).read_text()
    train_file(task).write_text(original.replace("it is", "it it"))
    with pytest.raises(RunConflict, match=r"stage 'a' was started with training data of digest .* gives "):
        run_again("a")
    train_file(task).write_text(original)
    assert len(run_again("a").stages) == 1
    assert not (workspace.checkpoints / "run").exists()
