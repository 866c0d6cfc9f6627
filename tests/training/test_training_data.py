"""Every run compares training data with the eval set, and with what the task was trained on before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import DataError, RunConflict
from lori_cl.registry import Run, Workspace
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, SilentObserver, enrol, run_curriculum

Learn = Callable[..., Run]


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def again(workspace: Workspace, write_curriculum: Callable[..., Path]) -> Callable[..., Run]:
    """Run a curriculum over tasks that are added already."""

    def run(*tasks: str, name: str = "run", **fields: Any) -> Run:
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(workspace, spec, name, RunOptions(), SilentObserver())

    return run


def train_file(task: Path) -> Path:
    return task.parent / task.stem / "train.jsonl"


def test_a_train_file_that_was_replaced_by_the_eval_set_is_refused_before_training(
    workspace: Workspace, write_task: Callable[..., Path], again: Callable[..., Run]
) -> None:
    task = write_task("a")
    enrol(workspace, [task])
    shutil.copy(train_file(task).with_name("test.jsonl"), train_file(task))
    with pytest.raises(DataError, match="8 of 8 eval examples stand among the training examples"):
        again("a")
    rows = [json.loads(line) for line in train_file(task).read_text().splitlines()]
    shouted = "".join(json.dumps({**row, "text": f"{row['text'].upper()}!"}) + "\n" for row in rows)
    train_file(task).write_text(shouted)
    with pytest.raises(DataError, match="row 1 of split 'train' but for case"):
        again("a")
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_duplicates_that_the_task_allows_are_trained_on(
    workspace: Workspace, write_task: Callable[..., Path], again: Callable[..., Run]
) -> None:
    task = write_task("a", allow_duplicates=True)
    enrol(workspace, [task])
    shutil.copy(train_file(task).with_name("test.jsonl"), train_file(task))
    assert len(again("a").stages) == 1


@pytest.mark.parametrize("limit", [None, 12])
def test_a_later_run_on_changed_training_data_warns_with_both_digests(
    learn: Learn,
    write_task: Callable[..., Path],
    again: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
    limit: int | None,
) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16, "limit": limit}
    first = learn("a", train=train)
    again("a", name="same", seed=7)
    assert "training data changed" not in caplog.text
    file = train_file(write_task("a"))
    file.write_text(file.read_text().replace("it is", "it it"))
    again("a", name="other", seed=7)
    assert f"run 'run' was trained on digest {first.stages[0].train_digest[:16]}…" in caplog.text


def test_an_interrupted_stage_is_not_resumed_on_changed_training_data(
    workspace: Workspace,
    write_task: Callable[..., Path],
    again: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = write_task("a")
    enrol(workspace, [task])
    monkeypatch.setattr("lori_cl.training.learning.teach", interrupt)
    with pytest.raises(KeyboardInterrupt):
        again("a")
    monkeypatch.undo()
    whole = train_file(task).read_text()
    train_file(task).write_text(whole.replace("it is", "it it"))
    with pytest.raises(RunConflict, match=r"stage 'a' was begun with training data of digest .* gives "):
        again("a")
    train_file(task).write_text(whole)
    assert len(again("a").stages) == 1
    assert not (workspace.checkpoints / "run").exists()
