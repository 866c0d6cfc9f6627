"""Starting, resuming, extending and refusing runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lori_cl.errors import (
    ArtifactDamaged,
    ArtifactMissing,
    CapacityExhausted,
    DataError,
    InputError,
    LoriError,
    RunConflict,
    TrainingDiverged,
)
from lori_cl.evaluation import loaded_run
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import Progress, SilentProgress
from lori_cl.spec import CurriculumSpec, TrainSpec, load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.task_data.eval_tasks import prepare_eval_task
from lori_cl.training import RunOptions, run_curriculum, stage_training
from lori_cl.training.training_job import TrainingJob, TrainResult

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]


def digests(run: Run) -> list[str]:
    return [stage.artifact for stage in run.stages]


def test_same_command_is_bit_identical_in_another_workspace(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path
) -> None:
    other = Workspace(tmp_path / "other")
    other.create()
    masks = {"strategy": "magnitude", "density": 0.1}
    assert digests(train_run("a", "b", masks=masks)) == digests(train_run("a", "b", masks=masks, into=other))


def test_different_seed_gives_different_projections_masks_and_values(train_run: TrainRun) -> None:
    one, two = train_run("a", name="one", seed=1), train_run("a", name="two", seed=2)
    assert one.projection is not None is not two.projection
    assert one.projection.digest != two.projection.digest
    assert one.stages[0].mask is not None is not two.stages[0].mask
    assert one.stages[0].mask.digest != two.stages[0].mask.digest


def test_finished_run_is_not_changed_again(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    before = train_run("a", "b")
    monkeypatch.setattr(loaded_run, "load_base", lambda *_: pytest.fail("loaded the model"))
    assert train_run("a", "b") == before


def test_interrupted_run_resumes_to_the_same_matrix(
    train_run: TrainRun, scores: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = train_run("a", "b", "c", name="whole")
    run_job, calls = stage_training.run_job, []

    def fail_in_the_third_stage(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run_job(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage_training, "run_job", fail_in_the_third_stage)
    with pytest.raises(KeyboardInterrupt):
        train_run("a", "b", "c", name="broken")
    monkeypatch.setattr(stage_training, "run_job", run_job)
    resumed = train_run("a", "b", "c", name="broken")
    assert [s.mask for s in resumed.stages] == [s.mask for s in uninterrupted.stages]
    assert {k: (e.score, e.outcomes, e.input_digest) for k, e in scores("broken").items()} == {
        k: (e.score, e.outcomes, e.input_digest) for k, e in scores("whole").items()
    }


def test_appended_task_is_trained_alone_and_matches_a_run_that_had_it_from_the_start(
    train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a", "b", name="run")
    trained: list[str] = []
    run_job = stage_training.run_job

    def record(job: TrainingJob, settings: TrainSpec, progress: Progress) -> TrainResult:
        trained.append(job.title)
        return run_job(job, settings, progress)

    monkeypatch.setattr(stage_training, "run_job", record)
    grown = train_run("a", "b", "c", name="run")
    assert trained == ["stage 3/3 c: training"]
    assert [s.position for s in grown.stages] == [1, 2, 3]
    assert [t.label for t in grown.tasks] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "seed = 0 \\(now 5\\)"),
        ({"adapter": {"rank": 8, "alpha": 8}}, "adapter.rank = 4 \\(now 8\\)"),
        ({"method": "sequential-lora"}, "method = lori \\(now sequential-lora\\)"),
    ],
)
def test_run_can_only_be_resumed_with_its_original_settings(
    train_run: TrainRun, change: dict[str, object], message: str
) -> None:
    train_run("a")
    with pytest.raises(RunConflict, match=message):
        train_run("a", "b", **change)


def test_all_differing_settings_are_reported_at_once(train_run: TrainRun) -> None:
    train_run("a")
    with pytest.raises(RunConflict, match=r"seed = 0 \(now 5\), eval\.batch_size = 4 \(now 2\);"):
        train_run("a", "b", seed=5, eval={"batch_size": 2})


def test_planned_but_untrained_task_can_be_replaced(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a")
    with monkeypatch.context() as patch:
        patch.setattr(stage_training, "run_job", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_run("a", "b")
    with workspace.read() as registry:
        assert [t.label for t in registry.run("run").tasks] == ["a", "b"]
    assert train_run("a").status == "done"
    assert [t.label for t in train_run("a", "c").tasks] == ["a", "c"]


def test_damaged_stage_is_detected_before_the_run_is_extended(
    train_run: TrainRun, workspace: Workspace
) -> None:
    run = train_run("a")
    workspace.artifacts.path(run.stages[0].artifact, "safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtifactDamaged):
        train_run("a", "b")
    with workspace.read() as registry:
        assert registry.run("run") == run


def test_run_can_only_be_resumed_with_its_tasks_in_order(train_run: TrainRun) -> None:
    train_run("a", "b")
    with pytest.raises(RunConflict, match="task 1 of this run is 'a', but the curriculum has 'b'"):
        train_run("b", "a")
    with pytest.raises(RunConflict, match=r"task 2 of this run is 'b', but the curriculum has no such task"):
        train_run("a")


def test_run_refuses_other_base_weights_and_shows_both_digests(
    train_run: TrainRun, tiny_encoder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_encoder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    run = train_run("a", model={"path": str(copy)})
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunConflict, match=run.base_digest[:16]):
        train_run("a", "b", model={"path": str(copy)})


def test_eleventh_task_of_a_tenth_each_is_refused_before_training(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_training, "run_job", lambda *_: pytest.fail("trained"))
    with pytest.raises(CapacityExhausted, match="'t10' needs 45 cells; 43 of 448 are free") as caught:
        train_run(*(f"t{i}" for i in range(1, 12)))
    assert "at most 0.09 for 11 tasks" in str(caught.value)
    with workspace.read() as registry:
        assert registry.runs() == []


def test_unknown_training_label_is_reported_with_file_line_and_nearest_label(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> None:
    files = [write_task("a"), write_task("b")]
    register_tasks(workspace, files)
    train = files[1].parent / "b" / "train.jsonl"
    train.write_text(train.read_text() + json.dumps({"text": "it is", "label": "rad"}) + "\n")
    spec = load_curriculum(write_curriculum("a", "b"))
    with pytest.raises(DataError, match=r"b/train.jsonl, line 17: label 'rad' .* Did you mean 'red'"):
        run_curriculum(workspace, spec, "run", RunOptions(), SilentProgress())
    with workspace.read() as registry:
        assert registry.runs() == []


def test_locked_run_is_refused_before_anything_is_loaded(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_run, "load_base", lambda *_: pytest.fail("loaded the model"))
    with workspace.lock("run"), pytest.raises(RunConflict, match=r"run 'run' is locked by process \d+ on "):
        train_run("a")
    with workspace.read() as registry:
        assert registry.runs() == []


def test_run_is_locked_during_training_and_unlocked_afterwards(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job, locked_runs = stage_training.run_job, []

    def record_locks(*arguments: object) -> object:
        locked_runs.append(workspace.locked_runs())
        return run_job(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage_training, "run_job", record_locks)
    train_run("a", "b")
    assert locked_runs == [["run"], ["run"]]
    assert workspace.locked_runs() == []


def test_diverging_loss_stops_the_stage_and_keeps_the_earlier_ones(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a")
    real = torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda *a: real(*a) * float("nan"))
    with pytest.raises(TrainingDiverged, match=r"stage 2/2 b: training: the loss became nan at step 1, on"):
        train_run("a", "b")
    with workspace.read() as registry:
        assert [s.task for s in registry.run("run").stages] == ["a"]


def test_weights_that_became_nan_in_the_last_step_are_not_committed(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.functional.cross_entropy
    # The square root has an infinite slope at 0, so the loss is finite and its gradient is not.
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda z, y: real(z, y) + (0.0 * z).square().sum().sqrt()
    )
    with pytest.raises(TrainingDiverged, match="the weights are no longer finite"):
        train_run("a", train={"epochs": 1, "batch_size": 64, "lr": 0.01, "max_grad_norm": 0.0})
    with workspace.read() as registry:
        assert registry.run("run").stages == ()


def test_model_with_overflowing_logits_gets_no_score(train_run: TrainRun, workspace: Workspace) -> None:
    with pytest.raises(LoriError, match="logits are not finite"):
        train_run("a", train={"epochs": 1, "batch_size": 64, "lr": 1e30})
    with workspace.read() as registry:
        assert registry.run("run").stages == ()


def test_lost_eval_set_is_restored_from_an_unchanged_source(
    train_run: TrainRun, workspace: Workspace
) -> None:
    run = train_run("a")
    eval_set = workspace.artifacts.path(run.tasks[0].eval_set.digest, "jsonl")
    eval_set.unlink()
    train_run("a", "b")
    assert eval_set.is_file()


def test_lost_eval_set_with_a_changed_source_stops_the_run(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path
) -> None:
    run = train_run("a")
    workspace.artifacts.path(run.tasks[0].eval_set.digest, "jsonl").unlink()
    source = tmp_path / "declared" / "a" / "test.jsonl"

    source.write_text(source.read_text().replace("red", "blue"))
    curriculum = CurriculumSpec.model_validate(dict(run.curriculum))
    with pytest.raises(ArtifactMissing, match=run.tasks[0].eval_set.digest[:16]):
        prepare_eval_task(workspace, run.tasks[0], curriculum, 16)


@pytest.mark.parametrize(
    ("setting", "name"), [("scheduler", "cosin"), ("optimizer", "adam_w"), ("loggers", ["tensorbord"])]
)
def test_name_unknown_to_the_trainer_is_refused_before_storing(
    train_run: TrainRun, workspace: Workspace, setting: str, name: object
) -> None:
    with pytest.raises(InputError, match="train: .*" + (name if isinstance(name, str) else "tensorbord")):
        train_run("a", train={"epochs": 1, "batch_size": 8, "max_length": 16, setting: name})
    with workspace.read() as registry:
        assert registry.runs() == []


def test_every_seed_of_a_stage_differs_and_is_recorded(train_run: TrainRun) -> None:
    run = train_run("a", "b")
    seeds = [seed for stage in run.stages for seed in stage.seeds.values()]
    assert len(seeds) == len(set(seeds)) == 14


def test_task_may_have_its_own_number_of_epochs(train_run: TrainRun) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16}
    run = train_run("a", "b", train={**train, "epochs_of": {"b": 3}})
    assert [stage.steps for stage in run.stages] == [2, 6]


def test_epochs_of_a_future_task_do_not_change_trained_stages(train_run: TrainRun) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16}
    train_run("a", train=train)
    run = train_run("a", "b", train={**train, "epochs_of": {"b": 3}})
    assert [stage.steps for stage in run.stages] == [2, 6]
    with pytest.raises(RunConflict, match=r"train.epochs_of.b = 3.0 \(now 2.0\)"):
        train_run("a", "b", train={**train, "epochs_of": {"b": 2}})
