"""Row 0, cached scores, the upper triangle, generation, and the two views of the baseline."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lori_cl.errors import InputError
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]


def test_row_zero_scores_the_base_model_under_any_method(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", name="one")
    train_run("a", "b", name="two", method="sequential-lora", options=RunOptions(measure_all=True))
    assert scores("one")[0, "b", "base"].outcomes == scores("two")[0, "b", "base"].outcomes


def test_score_with_unchanged_inputs_is_cached(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b")
    found = scores()
    assert found[1, "a", "as_trained"].source == "measured"
    assert found[1, "a", "current"].source == "cached"
    assert found[2, "a", "as_trained"].source == "cached"
    assert found[2, "a", "current"].source == "measured"
    assert found[2, "a", "as_trained"].outcomes == found[1, "a", "as_trained"].outcomes


def test_measure_all_measures_again_and_matches_the_cached_scores(
    train_run: TrainRun, scores: Scores
) -> None:
    train_run("a", "b", name="cached")
    train_run("a", "b", name="measured", options=RunOptions(measure_all=True))
    cached, measured = scores("cached"), scores("measured")
    assert {e.source for e in measured.values()} == {"measured"}
    assert {k: e.outcomes for k, e in cached.items()} == {k: e.outcomes for k, e in measured.items()}


def test_every_trained_task_is_scored_again_after_every_stage(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", "c")
    views = ("as_trained", "current")
    expected = {(i, t, v) for i in (1, 2, 3) for t in "abc"[:i] for v in views}
    assert scores().keys() == expected | {(0, t, "base") for t in "abc"}


def test_upper_triangle_scores_untrained_tasks(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", options=RunOptions(upper_triangle=True))
    assert {(1, "b", "as_trained"), (1, "b", "current")} <= scores().keys()


def test_upper_triangle_can_be_filled_in_later(train_run: TrainRun, scores: Scores) -> None:
    with_upper_triangle = RunOptions(upper_triangle=True)
    train_run("a", "b", name="whole", options=with_upper_triangle)
    train_run("a", "b", name="late")
    assert (1, "b", "current") not in scores("late")
    train_run("a", "b", name="late", options=with_upper_triangle)
    filled = {key: e.score for key, e in scores("late").items()}
    assert filled == {key: e.score for key, e in scores("whole").items()}


def test_sequential_lora_keeps_as_trained_and_changes_current(train_run: TrainRun, scores: Scores) -> None:
    train_run("a", "b", method="sequential-lora", options=RunOptions(measure_all=True))
    found = scores()
    assert found[2, "a", "as_trained"].input_digest == found[1, "a", "as_trained"].input_digest
    assert found[2, "a", "current"].input_digest != found[1, "a", "current"].input_digest


def test_learnable_task_is_learned(train_run: TrainRun, scores: Scores) -> None:
    train = {"epochs": 12, "batch_size": 4, "lr": 0.05, "head_lr": 0.05, "max_length": 16}
    train_run("a", train=train, masks={"strategy": "random", "density": 0.5})
    assert scores()[1, "a", "as_trained"].score >= 0.75


def test_truncated_texts_are_counted_in_training_and_scoring(train_run: TrainRun, scores: Scores) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 4}
    run = train_run("a", train=train)
    assert run.stages[0].n_truncated == 16
    assert scores()[1, "a", "as_trained"].n_truncated == 8


@pytest.mark.parametrize("extra", [{"precision": "bf16"}, {"gradient_checkpointing": True}])
def test_trainer_options_reach_the_trainer(train_run: TrainRun, extra: dict[str, object]) -> None:
    run = train_run("a", train={"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16, **extra})
    assert run.stages[0].steps == 2
    assert run.stages[0].final_loss > 0


@pytest.fixture
def generation_task(tmp_path: Path) -> Path:
    folder = tmp_path / "declared" / "copy"
    folder.mkdir(parents=True)
    rows = [json.dumps({"q": w, "a": w}) + "\n" for w in ("red", "blue", "green", "wet")]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(rows))
    declaration = {
        "name": "copy",
        "kind": "generation",
        "source": {"local": "copy"},
        "allow_duplicates": True,  # the eval set equals the training set
        "prompt": "it is {{ q }}",
        "answer": "{{ a }}",
        "max_new_tokens": 3,
    }
    file = folder.parent / "copy.yaml"
    file.write_text(yaml.safe_dump(declaration))
    return file


def test_causal_lm_learns_to_answer(
    workspace: Workspace,
    generation_task: Path,
    tiny_causal_lm: Path,
    write_curriculum: Callable[..., Path],
    scores: Scores,
) -> None:
    register_tasks(workspace, [generation_task])
    file = write_curriculum(
        "copy",
        model={"path": str(tiny_causal_lm)},
        masks={"strategy": "random", "density": 1.0},
        train={"epochs": 60, "batch_size": 4, "lr": 0.05, "max_length": 16},
    )
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    found = scores()
    assert found[0, "copy", "base"].score <= 0.25
    assert found[1, "copy", "as_trained"].score >= 0.75


def test_causal_lm_learns_multiple_choice(
    workspace: Workspace,
    generation_task: Path,
    tiny_causal_lm: Path,
    write_curriculum: Callable[..., Path],
    scores: Scores,
) -> None:
    declaration = yaml.safe_load(generation_task.read_text())
    del declaration["max_new_tokens"]
    declaration |= {"kind": "multiple_choice", "choices": ["red", "blue", "green", "wet"]}
    right = {"red": "wet", "blue": "green", "green": "red", "wet": "blue"}
    declaration |= {"answer_is": "text", "answer": f"{{{{ {right}[q] }}}}"}
    generation_task.write_text(yaml.safe_dump(declaration))
    register_tasks(workspace, [generation_task])
    file = write_curriculum(
        "copy",
        model={"path": str(tiny_causal_lm)},
        masks={"strategy": "random", "density": 1.0},
        train={"epochs": 60, "batch_size": 4, "lr": 0.05, "max_length": 16},
    )
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    found = scores()
    assert found[0, "copy", "base"].score <= 0.5
    assert found[1, "copy", "as_trained"].score == 1.0


def test_curriculum_cannot_mix_encoders_and_causal_lms(
    workspace: Workspace,
    generation_task: Path,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
) -> None:
    register_tasks(workspace, [generation_task, write_task("a")])
    spec = load_curriculum(write_curriculum("a", "copy"))
    with pytest.raises(InputError, match=r"'a' needs .* encoder and task 'copy' one of type causal-lm"):
        run_curriculum(workspace, spec, "run", RunOptions(), SilentProgress())
