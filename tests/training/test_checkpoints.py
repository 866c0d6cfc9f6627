"""A stage interrupted during training resumes bit-identically from its checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lori_cl.errors import Interrupted, TrainingDiverged, WorkspaceUnusable
from lori_cl.registry import Run, Workspace
from lori_cl.training import trainer
from lori_cl.training.checkpoints import newest_checkpoint
from tests.nightly import only_in_ci

TrainRun = Callable[..., Run]

TRAIN = {"epochs": 3, "batch_size": 8, "lr": 0.01, "max_length": 16}  # 6 steps of 16 examples
MASKS = {"strategy": "magnitude", "density": 0.1, "calibration": {"fraction": 1}}
"""6 calibration steps before training."""


UNINTERRUPTED: list[Any] = []
"""Result of the uninterrupted run, trained once."""


class Killed(BaseException):
    """A kill that no code under test may catch."""


@dataclass
class EndingProgress:
    """End a run after a number of units on the progress bars whose title contains a word."""

    error: type[BaseException]
    word: str
    after: int
    seen: int = 0
    titles: list[str] = field(default_factory=list)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        self.titles.append(title)

        def advance(units: int) -> None:
            if self.word in title:
                self.seen += units
                if self.seen == self.after:
                    raise self.error("as asked")

        yield advance


def bits(run: Run) -> list[Any]:
    return [(s.artifact, s.parent, s.mask, s.steps, s.final_loss, s.seeds) for s in run.stages]


@pytest.fixture
def other_workspace(tmp_path: Path) -> Workspace:
    """A workspace in which the same run is not interrupted."""
    made = Workspace(tmp_path / "elsewhere")
    made.create()
    return made


@pytest.fixture
def uninterrupted(train_run: TrainRun, other_workspace: Workspace) -> list[Any]:
    """The result of the curriculum without an interruption; it is the same in every workspace."""
    if not UNINTERRUPTED:
        UNINTERRUPTED.extend(bits(train_run("a", "b", into=other_workspace, train=TRAIN, masks=MASKS)))
    return UNINTERRUPTED


@pytest.mark.parametrize("job", ["calibrating", "training"])
@pytest.mark.parametrize(
    ("error", "step"),
    [
        (Killed, 1),
        (Killed, 6),
        (Interrupted, 5),
        pytest.param(Killed, 3, marks=pytest.mark.nightly),
        pytest.param(Interrupted, 2, marks=pytest.mark.nightly),
    ],
)
def test_stage_resumed_from_its_newest_checkpoint_is_bit_identical(
    train_run: TrainRun, uninterrupted: list[Any], error: type[BaseException], job: str, step: int
) -> None:
    train = {**TRAIN, "save_steps": 2}
    with pytest.raises(error):
        train_run("a", "b", train=train, masks=MASKS, progress=EndingProgress(error, job, step))
    assert bits(train_run("a", "b", train=train, masks=MASKS)) == uninterrupted


def test_resuming_works_with_gradient_accumulation_and_a_schedule(
    train_run: TrainRun, other_workspace: Workspace
) -> None:
    train = {**TRAIN, "batch_size": 4, "gradient_accumulation": 3, "scheduler": "linear", "warmup_steps": 2}
    uninterrupted = train_run("a", into=other_workspace, train=train)
    with pytest.raises(Interrupted):
        train_run("a", train=train, progress=EndingProgress(Interrupted, "training", 3))
    assert bits(train_run("a", train=train)) == bits(uninterrupted)


def test_sequential_lora_resumes_from_a_checkpoint_too(
    train_run: TrainRun, other_workspace: Workspace
) -> None:
    uninterrupted = train_run("a", "b", into=other_workspace, method="sequential-lora", train=TRAIN)
    with pytest.raises(Interrupted):
        train_run(
            "a",
            "b",
            method="sequential-lora",
            train=TRAIN,
            progress=EndingProgress(Interrupted, "2/2 b: train", 4),
        )
    assert bits(train_run("a", "b", method="sequential-lora", train=TRAIN)) == bits(uninterrupted)


def test_completed_steps_are_not_trained_again(
    train_run: TrainRun, uninterrupted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        train_run(
            "a", "b", train=TRAIN, masks=MASKS, progress=EndingProgress(Killed, "scoring a, as_trained", 4)
        )
    monkeypatch.setattr(trainer.JobTrainer, "train_from", lambda *_: pytest.fail("trained"))
    with pytest.raises(Killed):
        train_run(
            "a", "b", train=TRAIN, masks=MASKS, progress=EndingProgress(Killed, "scoring a, as_trained", 8)
        )
    monkeypatch.undo()
    assert bits(train_run("a", "b", train=TRAIN, masks=MASKS)) == uninterrupted


@pytest.mark.parametrize(
    "file",
    only_in_ci(["optimizer.pt"], ["trained.safetensors", "optimizer.pt", "rng_state.pth", "complete.json"]),
)
def test_damaged_checkpoint_is_ignored(
    train_run: TrainRun, workspace: Workspace, uninterrupted: list[Any], file: str
) -> None:
    with pytest.raises(Interrupted):
        train_run("a", "b", train=TRAIN, masks=MASKS, progress=EndingProgress(Interrupted, "training", 4))
    (damaged,) = (workspace.checkpoints / "run").glob(f"train-*/checkpoint-4/{file}")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert newest_checkpoint(damaged.parent.parent) is None
    assert bits(train_run("a", "b", train=TRAIN, masks=MASKS)) == uninterrupted


def test_checkpoint_of_another_curriculum_is_ignored(train_run: TrainRun, other_workspace: Workspace) -> None:
    more = {**TRAIN, "epochs_of": {"b": 4}}
    uninterrupted = train_run("a", "b", into=other_workspace, train=more)
    with pytest.raises(Interrupted):
        train_run("a", "b", train=TRAIN, progress=EndingProgress(Interrupted, "2/2 b: train", 4))
    assert bits(train_run("a", "b", train=more)) == bits(uninterrupted)


def test_checkpoint_holds_trainable_state_and_no_base_model(
    train_run: TrainRun, workspace: Workspace
) -> None:
    with pytest.raises(Interrupted):
        train_run("a", train=TRAIN, progress=EndingProgress(Interrupted, "training", 4))
    (file,) = (workspace.checkpoints / "run").glob("*/checkpoint-4/trained.safetensors")
    names = load_file(file)
    assert {name.rpartition(".")[2] for name in names} == {"values", "weight", "bias"}
    assert sum("head" in name for name in names) == 2
    assert sum(tensor.numel() for tensor in names.values()) == 45 + 16 * 2 + 2  # a tenth of 448 cells
    assert sorted(other.name for other in file.parent.parent.iterdir()) == ["checkpoint-4"]


def test_committed_stage_leaves_no_checkpoint(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", train={**TRAIN, "save_steps": 1})
    assert not (workspace.checkpoints / "run").exists()


def test_no_checkpoint_is_written_without_save_steps(
    train_run: TrainRun, workspace: Workspace, uninterrupted: list[Any]
) -> None:
    train = {**TRAIN, "save_steps": None}
    with pytest.raises(Killed):
        train_run("a", "b", train=train, masks=MASKS, progress=EndingProgress(Killed, "training", 6))
    assert not (workspace.checkpoints / "run").exists()
    assert bits(train_run("a", "b", train=train, masks=MASKS)) == uninterrupted


def test_progress_bar_resumes_at_its_position(train_run: TrainRun) -> None:
    with pytest.raises(Interrupted):
        train_run("a", train=TRAIN, progress=EndingProgress(Interrupted, "training", 4))
    resumed = EndingProgress(Killed, "training", 99)
    train_run("a", train=TRAIN, progress=resumed)
    assert resumed.seen == 6


def test_full_disk_during_a_checkpoint_loses_nothing(
    train_run: TrainRun, uninterrupted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    train = {**TRAIN, "save_steps": 2}
    monkeypatch.setattr(trainer, "write_trained", full)
    with pytest.raises(
        WorkspaceUnusable, match=r"checkpoint cannot be written .* No space left .* free disk space"
    ):
        train_run("a", "b", train=train, masks=MASKS)
    monkeypatch.undo()
    assert bits(train_run("a", "b", train=train, masks=MASKS)) == uninterrupted


def test_torch_write_error_is_reported_as_a_full_disk(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda value, _: save(value, "/dev/full"))
    with pytest.raises(WorkspaceUnusable, match=r"checkpoint cannot be written .* free disk space"):
        train_run("a", train={**TRAIN, "save_steps": 2})


def test_other_errors_during_a_checkpoint_keep_their_message(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disconnect() -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(trainer, "wait", disconnect)
    with pytest.raises(RuntimeError, match=r"^Connection closed by peer$"):
        train_run("a", train={**TRAIN, "save_steps": 2})


def test_nan_loss_is_reported_with_step_examples_and_learning_rate(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = trainer.Trainer.training_step
    calls = []

    def third_is_nan(self: object, *arguments: object) -> object:
        calls.append(1)
        loss = step(self, *arguments)
        return loss * float("nan") if len(calls) == 3 else loss

    monkeypatch.setattr(trainer.Trainer, "training_step", third_is_nan)
    with pytest.raises(TrainingDiverged) as found:
        train_run("a", train={**TRAIN, "batch_size": 4})
    assert "stage 1/1 a: training: the loss became nan at step 3" in str(found.value)
    assert "at learning rate 0.01" in str(found.value)
    rows = str(found.value).partition("of rows ")[2].partition(", at")[0].split(", ")
    assert len(set(map(int, rows))) == 4
    assert set(map(int, rows)) <= set(range(16))
