"""A stage that causes a regression is held back and committed only on request."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import ArtifactDamaged, InputError, Interrupted, RegressionFound, WorkspaceUnusable
from lori_cl.evaluation.evaluator import Evaluator
from lori_cl.registry import Evaluation, Run, ScoredStage, Workspace, find_garbage
from lori_cl.serving.retire import retire_task
from lori_cl.spec import View
from lori_cl.training import Gate, RunOptions, stage_training, trainer

from .test_checkpoints import EndingProgress, Killed

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]

GATED = RunOptions(gate=Gate(max_drop=1.0))
ACCEPTED = RunOptions(accept="b")


def scored(right: int, wrong: int, *, stage: int = 1, view: str = "current", task: str = "a") -> Evaluation:
    """A score from the given numbers of right and wrong answers."""
    outcomes = (1.0,) * right + (0.0,) * wrong
    return Evaluation(
        stage=stage,
        task=task,
        view=view,
        metric="accuracy",
        score=right / len(outcomes),
        n=len(outcomes),
        stderr=None,
        source="measured",
        input_digest="0",
        n_truncated=0,
        elapsed_s=0.0,
        answers="0",
        outcomes=outcomes,
    )


def test_significant_drop_is_reported_with_its_numbers() -> None:
    (drop,) = Gate(1.0).drops([scored(80, 20)], [scored(60, 40, stage=2)])
    assert drop == "'a' fell by 20.0 points, from 80.0 % after stage 1 to 60.0 % (paired test, p = 1.9e-06)"


def test_drop_within_chance_is_not_a_regression() -> None:
    assert Gate(1.0).drops([scored(80, 20)], [scored(75, 25, stage=2)]) == []  # p = 0.06
    assert Gate(1.0).drops([scored(80, 20)], [scored(74, 26, stage=2)]) != []  # p = 0.03


def test_allowed_drop_is_not_a_regression() -> None:
    assert Gate(20.0).drops([scored(80, 20)], [scored(60, 40, stage=2)]) == []


def test_drop_is_measured_from_the_best_earlier_score() -> None:
    before = [scored(80, 20), scored(90, 10, stage=2), scored(82, 18, stage=3)]
    (drop,) = Gate(10.0).drops(before, [scored(75, 25, stage=4)])
    assert "from 90.0 % after stage 2" in drop


def test_other_views_and_new_tasks_are_ignored() -> None:
    now = [scored(1, 99, stage=2, view="as_trained"), scored(1, 99, stage=2, task="b")]
    assert Gate(1.0).drops([scored(80, 20), scored(80, 20, view="as_trained")], now) == []
    assert len(Gate(1.0, View.AS_TRAINED).drops([scored(80, 20, view="as_trained")], now)) == 1


@pytest.fixture
def regressing_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every answer of task a wrong after stage 2 in the view `current`."""
    row = Evaluator.row

    def costs(self: Evaluator, *arguments: object) -> list[Evaluation]:
        return [
            replace(e, score=0.0, outcomes=(0.0,) * e.n)
            if (e.stage, e.task, e.view) == (2, "a", "current")
            else replace(e, score=1.0, outcomes=(1.0,) * e.n)
            for e in row(self, *arguments)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(Evaluator, "row", costs)


@pytest.fixture
def held_back(train_run: TrainRun, regressing_stage: None, workspace: Workspace) -> ScoredStage:
    """The stage that a run of a, b and c holds back after stage 2."""
    with pytest.raises(RegressionFound, match=r"stage 2/3 b: in the view current, 'a' fell by 100.0 points"):
        train_run("a", "b", "c", options=GATED)
    stage = ScoredStage.read(workspace.held_back_file("run"))
    assert stage is not None
    return stage


def stages(workspace: Workspace) -> list[str]:
    with workspace.read() as registry:
        return [stage.task for stage in registry.run("run").stages]


def test_stage_with_a_regression_is_held_back_and_can_be_inspected(
    held_back: ScoredStage, workspace: Workspace
) -> None:
    assert stages(workspace) == ["a"]
    record = json.loads(workspace.held_back_file("run").read_text())
    assert "'a' fell by 100.0 points" in record["why"]
    assert record["stage"]["task"] == "b"
    assert workspace.artifacts.get(held_back.stage.artifact, "safetensors")
    with workspace.read() as registry:
        assert find_garbage(workspace, registry) == [], "gc must keep the held back stage"


def test_regression_is_reported_again_without_training_again(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_training, "run_job", lambda *_: pytest.fail("trained"))
    for options in (GATED, RunOptions()):
        with pytest.raises(RegressionFound, match=r"to commit it, use --accept b$"):
            train_run("a", "b", "c", options=options)
    assert stages(workspace) == ["a"]


@pytest.mark.parametrize("options", [ACCEPTED, RunOptions(gate=Gate(100.0))], ids=["accept", "looser"])
def test_held_back_stage_is_committed_when_accepted_or_with_a_wider_gate(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace, options: RunOptions
) -> None:
    run = train_run("a", "b", "c", options=options)
    assert [stage.task for stage in run.stages] == ["a", "b", "c"]
    assert run.stages[1].artifact == held_back.stage.artifact
    assert not workspace.held_back_file("run").exists()


def test_gate_applies_to_stages_after_an_accepted_one(
    train_run: TrainRun, held_back: ScoredStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score_all_wrong(self: Evaluator, *arguments: object) -> list[Evaluation]:
        return [replace(e, score=0.0, outcomes=(0.0,) * e.n) for e in row(self, *arguments)]  # type: ignore[arg-type]

    row = Evaluator.row
    monkeypatch.setattr(Evaluator, "row", score_all_wrong)
    with pytest.raises(RegressionFound, match="stage 3/3 c"):
        train_run("a", "b", "c", options=RunOptions(gate=Gate(1.0), accept="b"))


def test_different_next_task_discards_the_held_back_stage(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace
) -> None:
    train_run("a", "d", options=RunOptions())
    assert stages(workspace) == ["a", "d"]
    assert not workspace.held_back_file("run").exists()


def test_accepted_stage_leaves_nothing_behind(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace
) -> None:
    assert (workspace.checkpoints / "run").exists()
    train_run("a", "b", options=ACCEPTED)
    assert not (workspace.checkpoints / "run").exists()
    assert not workspace.held_back_file("run").exists()


def test_same_command_resumes_after_the_accepted_stage(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace
) -> None:
    with pytest.raises(Interrupted):
        train_run("a", "b", "c", options=ACCEPTED, progress=EndingProgress(Interrupted, "3/3 c: training", 1))
    assert stages(workspace) == ["a", "b"]
    train_run("a", "b", "c", options=ACCEPTED)
    assert stages(workspace) == ["a", "b", "c"]


def test_same_command_resumes_after_a_kill_between_commit_and_cleanup(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as after_the_commit:
        after_the_commit.setattr(Workspace, "clear_stage", killed)
        with pytest.raises(Killed):
            train_run("a", "b", "c", options=ACCEPTED)
    assert stages(workspace) == ["a", "b"]
    assert workspace.held_back_file("run").exists()
    train_run("a", "b", options=ACCEPTED)
    assert stages(workspace) == ["a", "b"]
    assert not workspace.held_back_file("run").exists()
    assert not (workspace.checkpoints / "run").exists()


def test_accept_applies_to_one_stage_only(
    train_run: TrainRun, held_back: ScoredStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "drops", lambda *_: ["'b' fell"])
    for _ in range(2):
        with pytest.raises(RegressionFound, match=r"stage 3/3 c: .*to commit it, use --accept c$"):
            train_run("a", "b", "c", options=replace(ACCEPTED, gate=Gate(1.0)))


@pytest.mark.parametrize("task", ["c", "e"])
def test_accepting_another_task_is_refused_with_the_held_back_stage(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace, task: str
) -> None:
    message = f"--accept {task}: the stage held back is 2 b; use --accept b to commit it"
    with pytest.raises(InputError, match=f"^{message}$"):
        train_run("a", "b", "c", options=RunOptions(accept=task))
    assert stages(workspace) == ["a"]


def test_accepting_without_a_held_back_stage_is_refused(train_run: TrainRun) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=r"^--accept b: no stage of this run is held back$"):
            train_run("a", "b", options=ACCEPTED)
        train_run("a")


def test_held_back_stage_that_depends_on_a_retired_task_is_trained_again(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    retire_task(workspace, "run", "a")
    outdated = "stage 2 b, which is held back, was trained for different tasks, stages or settings"
    with pytest.raises(
        InputError, match=f"^--accept b: {outdated}; repeat the command without --accept to ignore it"
    ):
        train_run("a", "b", "c", options=ACCEPTED)
    run = train_run("a", "b", "c", options=GATED)
    assert f"run 'run': {outdated}; training b" in caplog.messages
    assert [stage.task for stage in run.stages] == ["a", "b", "c"]
    assert run.stages[1].artifact != held_back.stage.artifact
    assert not workspace.held_back_file("run").exists()


@pytest.mark.parametrize(
    "fields", [{"seed": 1}, {"eval": {"batch_size": 4, "limit": 7}}], ids=["seed", "eval"]
)
def test_held_back_stage_of_an_earlier_run_with_the_same_name_is_refused(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace, fields: dict[str, Any]
) -> None:
    (workspace.root / "registry.db").unlink()
    workspace.create()
    with pytest.raises(Interrupted):
        train_run("a", "b", "c", progress=EndingProgress(Interrupted, "2/3 b: training", 1), **fields)
    held_back.write(workspace.held_back_file("run"))  # the first stage of the new run removed it
    with pytest.raises(InputError, match=r"^--accept b: stage 2 b, which is held back, was trained for d"):
        train_run("a", "b", "c", options=ACCEPTED, **fields)


def test_full_disk_while_holding_back_a_stage_loses_nothing(
    train_run: TrainRun, regressing_stage: None, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("lori_cl.registry.scored_stage.write_durably", full)
        with pytest.raises(WorkspaceUnusable) as found:
            train_run("a", "b", options=GATED)
    assert str(found.value) == (
        f"stage 2 b cannot be held back in {workspace.held_back_file('run')}: No space left on device; "
        "free disk space, then repeat the command to resume"
    )
    monkeypatch.setattr(trainer.JobTrainer, "train_from", lambda *_: pytest.fail("trained"))
    with pytest.raises(RegressionFound, match=r"to commit it, use --accept b$"):
        train_run("a", "b", options=GATED)
    assert stages(workspace) == ["a"]


def test_gate_on_an_unscored_view_is_refused_before_training(train_run: TrainRun) -> None:
    with pytest.raises(InputError, match=r"routed: not one of .* eval\.views \(as_trained, current\)"):
        train_run("a", options=RunOptions(gate=Gate(1.0, View.ROUTED)))


def test_held_back_file_of_an_earlier_version_is_read_and_accepted(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace
) -> None:
    file = workspace.held_back_file("run")
    cached = [e for e in held_back.evaluations if e.source == "cached"]
    assert cached
    text = file.read_text().replace('"cached"', '"proved"').replace('"parent_stages"', '"stood_on"')
    file.write_text(text)
    assert ScoredStage.read(file) == held_back
    train_run("a", "b", "c", options=ACCEPTED)
    with workspace.read() as registry:
        assert [e for e in registry.evaluations("run") if e.source == "cached" and e.stage == 2] == cached


@pytest.mark.parametrize("points", [math.nan, math.inf])
def test_gate_that_can_never_trigger_is_refused(train_run: TrainRun, points: float) -> None:
    with pytest.raises(InputError, match=rf"^--max-drop {points}: not a finite number; give a number"):
        train_run("a", options=RunOptions(gate=Gate(points)))


def test_damaged_held_back_file_is_reported(
    train_run: TrainRun, held_back: ScoredStage, workspace: Workspace
) -> None:
    file: Path = workspace.held_back_file("run")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ArtifactDamaged, match="delete it to train the stage again"):
        train_run("a", "b", "c", options=GATED)
