"""A stage that ends in the middle of its training goes on to the same bits."""

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
from lori_cl.training import lesson_trainer
from lori_cl.training.checkpoints import newest

Learn = Callable[..., Run]

TRAIN = {"epochs": 3, "batch_size": 8, "lr": 0.01, "max_length": 16}  # 6 steps of 16 examples
MASKS = {"strategy": "magnitude", "density": 0.1}  # 6 steps of calibration before them


WHOLE: list[Any] = []
"""Learned once."""


class Killed(BaseException):
    """Nothing in the code under test may catch it."""


@dataclass
class Ends:
    """Ends a run after so many units of the bars that a word names."""

    how: type[BaseException]
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
                    raise self.how("as asked")

        yield advance


def bits(run: Run) -> list[Any]:
    return [(s.artifact, s.parent, s.mask, s.steps, s.final_loss, s.seeds) for s in run.stages]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Workspace:
    """A workspace for the same run, which nobody interrupts."""
    made = Workspace(tmp_path / "elsewhere")
    made.create()
    return made


@pytest.fixture
def whole(learn: Learn, elsewhere: Workspace) -> list[Any]:
    """What the same curriculum gives without an interruption, which is the same in every workspace."""
    if not WHOLE:
        WHOLE.extend(bits(learn("a", "b", into=elsewhere, train=TRAIN, masks=MASKS)))
    return WHOLE


@pytest.mark.parametrize("lesson", ["calibrating", "training"])
@pytest.mark.parametrize(
    ("how", "step"), [(Killed, 1), (Killed, 3), (Killed, 6), (Interrupted, 2), (Interrupted, 5)]
)
def test_a_stage_goes_on_from_its_newest_checkpoint_to_the_same_bits(
    learn: Learn, whole: list[Any], how: type[BaseException], lesson: str, step: int
) -> None:
    train = {**TRAIN, "save_steps": 2}
    with pytest.raises(how):
        learn("a", "b", train=train, masks=MASKS, observer=Ends(how, lesson, step))
    assert bits(learn("a", "b", train=train, masks=MASKS)) == whole


def test_it_goes_on_with_gradients_accumulated_and_a_schedule(learn: Learn, elsewhere: Workspace) -> None:
    train = {**TRAIN, "batch_size": 4, "gradient_accumulation": 3, "scheduler": "linear", "warmup_steps": 2}
    whole = learn("a", into=elsewhere, train=train)
    with pytest.raises(Interrupted):
        learn("a", train=train, observer=Ends(Interrupted, "training", 3))
    assert bits(learn("a", train=train)) == bits(whole)


def test_the_baseline_goes_on_as_well(learn: Learn, elsewhere: Workspace) -> None:
    whole = learn("a", "b", into=elsewhere, method="sequential-lora", train=TRAIN)
    with pytest.raises(Interrupted):
        learn("a", "b", method="sequential-lora", train=TRAIN, observer=Ends(Interrupted, "2/2 b: train", 4))
    assert bits(learn("a", "b", method="sequential-lora", train=TRAIN)) == bits(whole)


def test_what_is_trained_already_is_not_trained_again(
    learn: Learn, whole: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        learn("a", "b", train=TRAIN, masks=MASKS, observer=Ends(Killed, "scoring a, as_trained", 4))
    monkeypatch.setattr(lesson_trainer.LessonTrainer, "train_on", lambda *_: pytest.fail("trained"))
    with pytest.raises(Killed):
        learn("a", "b", train=TRAIN, masks=MASKS, observer=Ends(Killed, "scoring a, as_trained", 8))
    monkeypatch.undo()
    assert bits(learn("a", "b", train=TRAIN, masks=MASKS)) == whole


@pytest.mark.parametrize("file", ["trained.safetensors", "optimizer.pt", "rng_state.pth", "complete.json"])
def test_a_damaged_checkpoint_does_not_count(
    learn: Learn, workspace: Workspace, whole: list[Any], file: str
) -> None:
    with pytest.raises(Interrupted):
        learn("a", "b", train=TRAIN, masks=MASKS, observer=Ends(Interrupted, "training", 4))
    (damaged,) = (workspace.checkpoints / "run").glob(f"train-*/checkpoint-4/{file}")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert newest(damaged.parent.parent) is None
    assert bits(learn("a", "b", train=TRAIN, masks=MASKS)) == whole


def test_a_checkpoint_of_another_curriculum_does_not_count(learn: Learn, elsewhere: Workspace) -> None:
    more = {**TRAIN, "epochs_of": {"b": 4}}
    whole = learn("a", "b", into=elsewhere, train=more)
    with pytest.raises(Interrupted):
        learn("a", "b", train=TRAIN, observer=Ends(Interrupted, "2/2 b: train", 4))
    assert bits(learn("a", "b", train=more)) == bits(whole)


def test_a_checkpoint_holds_what_trains_and_no_base_model(learn: Learn, workspace: Workspace) -> None:
    with pytest.raises(Interrupted):
        learn("a", train=TRAIN, observer=Ends(Interrupted, "training", 4))
    (file,) = (workspace.checkpoints / "run").glob("*/checkpoint-4/trained.safetensors")
    names = load_file(file)
    assert {name.rpartition(".")[2] for name in names} == {"values", "weight", "bias"}
    assert sum("head" in name for name in names) == 2
    assert sum(tensor.numel() for tensor in names.values()) == 45 + 16 * 2 + 2  # a tenth of 448 cells
    assert sorted(other.name for other in file.parent.parent.iterdir()) == ["checkpoint-4"]


def test_a_committed_stage_leaves_no_checkpoint(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b", train={**TRAIN, "save_steps": 1})
    assert not (workspace.checkpoints / "run").exists()


def test_without_save_steps_none_is_written(learn: Learn, workspace: Workspace, whole: list[Any]) -> None:
    train = {**TRAIN, "save_steps": None}
    with pytest.raises(Killed):
        learn("a", "b", train=train, masks=MASKS, observer=Ends(Killed, "training", 6))
    assert not (workspace.checkpoints / "run").exists()
    assert bits(learn("a", "b", train=train, masks=MASKS)) == whole


def test_the_bar_goes_on_where_it_stood(learn: Learn) -> None:
    with pytest.raises(Interrupted):
        learn("a", train=TRAIN, observer=Ends(Interrupted, "training", 4))
    resumed = Ends(Killed, "training", 99)
    learn("a", train=TRAIN, observer=resumed)
    assert resumed.seen == 6


def test_a_disk_that_is_full_while_a_checkpoint_is_written_loses_nothing(
    learn: Learn, whole: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    train = {**TRAIN, "save_steps": 2}
    monkeypatch.setattr(lesson_trainer, "write_trained", full)
    with pytest.raises(
        WorkspaceUnusable, match=r"checkpoint cannot be written .* No space left .* make room"
    ):
        learn("a", "b", train=train, masks=MASKS)
    monkeypatch.undo()
    assert bits(learn("a", "b", train=train, masks=MASKS)) == whole


def test_a_file_that_torch_cannot_write_is_told_as_a_full_disk(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda value, _: save(value, "/dev/full"))
    with pytest.raises(WorkspaceUnusable, match=r"checkpoint cannot be written .* make room"):
        learn("a", train={**TRAIN, "save_steps": 2})


def test_another_error_while_a_checkpoint_is_written_keeps_its_words(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(lesson_trainer, "wait", lost)
    with pytest.raises(RuntimeError, match=r"^Connection closed by peer$"):
        learn("a", train={**TRAIN, "save_steps": 2})


def test_a_loss_that_is_no_number_is_told_with_its_step_its_examples_and_its_rate(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = lesson_trainer.Trainer.training_step
    calls = []

    def third_is_nan(self: object, *arguments: object) -> object:
        calls.append(1)
        loss = step(self, *arguments)
        return loss * float("nan") if len(calls) == 3 else loss

    monkeypatch.setattr(lesson_trainer.Trainer, "training_step", third_is_nan)
    with pytest.raises(TrainingDiverged) as found:
        learn("a", train={**TRAIN, "batch_size": 4})
    assert "stage 1/1 a: training: the loss became nan at step 3" in str(found.value)
    assert "at learning rate 0.01" in str(found.value)
    rows = str(found.value).partition("of rows ")[2].partition(", at")[0].split(", ")
    assert len(set(map(int, rows))) == 4
    assert set(map(int, rows)) <= set(range(16))
