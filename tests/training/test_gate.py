"""A stage that costs an earlier task too much is set aside, and taken only when asked."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import ArtifactDamaged, InputError, Interrupted, RegressionFound, WorkspaceUnusable
from lori_cl.registry import Evaluation, Run, SetAside, Workspace, leftovers
from lori_cl.serving.retire import retire_task
from lori_cl.spec import View
from lori_cl.training import Gate, RunOptions, committing, learning, lesson_trainer
from lori_cl.training.examiner import Examiner

from .test_checkpoints import Ends, Killed

Learn = Callable[..., Run]
Scores = Callable[..., dict]

GATED = RunOptions(gate=Gate(max_drop=1.0))
ACCEPTED = RunOptions(accept="b")


def scored(right: int, wrong: int, *, stage: int = 1, view: str = "current", task: str = "a") -> Evaluation:
    """A score over so many right and wrong answers."""
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


def test_a_real_drop_is_told_with_its_numbers() -> None:
    (loss,) = Gate(1.0).losses([scored(80, 20)], [scored(60, 40, stage=2)])
    assert loss == "'a' fell by 20.0 points, from 80.0 % after stage 1 to 60.0 % (paired test, p = 1.9e-06)"


def test_a_drop_that_chance_explains_does_not_count() -> None:
    assert Gate(1.0).losses([scored(80, 20)], [scored(75, 25, stage=2)]) == []  # p = 0.06
    assert Gate(1.0).losses([scored(80, 20)], [scored(74, 26, stage=2)]) != []  # p = 0.03


def test_a_drop_that_is_allowed_does_not_count() -> None:
    assert Gate(20.0).losses([scored(80, 20)], [scored(60, 40, stage=2)]) == []


def test_the_best_score_before_is_what_counts_and_not_the_last() -> None:
    before = [scored(80, 20), scored(90, 10, stage=2), scored(82, 18, stage=3)]
    (loss,) = Gate(10.0).losses(before, [scored(75, 25, stage=4)])
    assert "from 90.0 % after stage 2" in loss


def test_other_views_and_new_tasks_do_not_count() -> None:
    now = [scored(1, 99, stage=2, view="as_trained"), scored(1, 99, stage=2, task="b")]
    assert Gate(1.0).losses([scored(80, 20), scored(80, 20, view="as_trained")], now) == []
    assert len(Gate(1.0, View.AS_TRAINED).losses([scored(80, 20, view="as_trained")], now)) == 1


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage 2 gets every answer of task a wrong, under `current`."""
    row = Examiner.row

    def costs(self: Examiner, *arguments: object) -> list[Evaluation]:
        return [
            replace(e, score=0.0, outcomes=(0.0,) * e.n)
            if (e.stage, e.task, e.view) == (2, "a", "current")
            else replace(e, score=1.0, outcomes=(1.0,) * e.n)
            for e in row(self, *arguments)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(Examiner, "row", costs)


@pytest.fixture
def aside(learn: Learn, costly: None, workspace: Workspace) -> SetAside:
    """What a run of a, b and c keeps aside after stage 2."""
    with pytest.raises(RegressionFound, match=r"stage 2/3 b: in the view current, 'a' fell by 100.0 points"):
        learn("a", "b", "c", options=GATED)
    kept = SetAside.read(workspace.aside("run"))
    assert kept is not None
    return kept


def stages(workspace: Workspace) -> list[str]:
    with workspace.read() as registry:
        return [stage.task for stage in registry.run("run").stages]


def test_a_stage_that_costs_too_much_is_not_committed_and_can_be_inspected(
    aside: SetAside, workspace: Workspace
) -> None:
    assert stages(workspace) == ["a"]
    shown = json.loads(workspace.aside("run").read_text())
    assert "'a' fell by 100.0 points" in shown["why"]
    assert shown["stage"]["task"] == "b"
    assert workspace.artifacts.get(aside.stage.artifact, "safetensors")
    with workspace.read() as registry:
        assert leftovers(workspace, registry) == [], "gc must leave the stage that is set aside alone"


def test_it_is_told_again_without_training_again(
    learn: Learn, aside: SetAside, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "teach", lambda *_: pytest.fail("trained"))
    for options in (GATED, RunOptions()):
        with pytest.raises(RegressionFound, match="--accept b takes it"):
            learn("a", "b", "c", options=options)
    assert stages(workspace) == ["a"]


@pytest.mark.parametrize("options", [ACCEPTED, RunOptions(gate=Gate(100.0))], ids=["accept", "looser"])
def test_it_is_taken_when_it_is_accepted_or_the_gate_is_wider(
    learn: Learn, aside: SetAside, workspace: Workspace, options: RunOptions
) -> None:
    run = learn("a", "b", "c", options=options)
    assert [stage.task for stage in run.stages] == ["a", "b", "c"]
    assert run.stages[1].artifact == aside.stage.artifact
    assert not workspace.aside("run").exists()


def test_the_gate_holds_for_the_stages_after_an_accepted_one(
    learn: Learn, aside: SetAside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_right(self: Examiner, *arguments: object) -> list[Evaluation]:
        return [replace(e, score=0.0, outcomes=(0.0,) * e.n) for e in row(self, *arguments)]  # type: ignore[arg-type]

    row = Examiner.row
    monkeypatch.setattr(Examiner, "row", nothing_right)
    with pytest.raises(RegressionFound, match="stage 3/3 c"):
        learn("a", "b", "c", options=RunOptions(gate=Gate(1.0), accept="b"))


def test_another_task_in_its_place_is_trained_as_if_nothing_were_aside(
    learn: Learn, aside: SetAside, workspace: Workspace
) -> None:
    learn("a", "d", options=RunOptions())
    assert stages(workspace) == ["a", "d"]
    assert not workspace.aside("run").exists()


def test_an_accepted_stage_leaves_nothing_behind(learn: Learn, aside: SetAside, workspace: Workspace) -> None:
    assert (workspace.checkpoints / "run").exists()
    learn("a", "b", options=ACCEPTED)
    assert not (workspace.checkpoints / "run").exists()
    assert not workspace.aside("run").exists()


def test_the_same_command_goes_on_after_the_accepted_stage(
    learn: Learn, aside: SetAside, workspace: Workspace
) -> None:
    with pytest.raises(Interrupted):
        learn("a", "b", "c", options=ACCEPTED, observer=Ends(Interrupted, "3/3 c: training", 1))
    assert stages(workspace) == ["a", "b"]
    learn("a", "b", "c", options=ACCEPTED)
    assert stages(workspace) == ["a", "b", "c"]


def test_the_same_command_goes_on_after_a_kill_between_the_commit_and_the_clearing_away(
    learn: Learn, aside: SetAside, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as after_the_commit:
        after_the_commit.setattr(committing, "clear", killed)
        with pytest.raises(Killed):
            learn("a", "b", "c", options=ACCEPTED)
    assert stages(workspace) == ["a", "b"]
    assert workspace.aside("run").exists()
    learn("a", "b", options=ACCEPTED)
    assert stages(workspace) == ["a", "b"]
    assert not workspace.aside("run").exists()
    assert not (workspace.checkpoints / "run").exists()


def test_a_command_that_accepts_one_stage_does_not_accept_the_next(
    learn: Learn, aside: SetAside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "losses", lambda *_: ["'b' fell"])
    for _ in range(2):
        with pytest.raises(RegressionFound, match=r"stage 3/3 c: .*--accept c takes it"):
            learn("a", "b", "c", options=replace(ACCEPTED, gate=Gate(1.0)))


@pytest.mark.parametrize("task", ["c", "e"])
def test_to_accept_another_task_is_refused_with_what_is_aside(
    learn: Learn, aside: SetAside, workspace: Workspace, task: str
) -> None:
    with pytest.raises(InputError, match=rf"^--accept {task}: set aside is stage 2 b; --accept b takes it$"):
        learn("a", "b", "c", options=RunOptions(accept=task))
    assert stages(workspace) == ["a"]


def test_to_accept_where_nothing_is_aside_is_refused(learn: Learn) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=r"^--accept b: no stage of this run is set aside$"):
            learn("a", "b", options=ACCEPTED)
        learn("a")


def test_a_stage_that_stood_on_a_task_that_is_retired_since_is_trained_again(
    learn: Learn, aside: SetAside, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    retire_task(workspace, "run", "a")
    outdated = (
        "stage 2 b, which is set aside, was made for other tasks, stages or settings than there are now"
    )
    with pytest.raises(
        InputError, match=f"^--accept b: {outdated}; without --accept the run goes on without"
    ):
        learn("a", "b", "c", options=ACCEPTED)
    run = learn("a", "b", "c", options=GATED)
    assert f"run 'run': {outdated}; b is trained" in caplog.messages
    assert [stage.task for stage in run.stages] == ["a", "b", "c"]
    assert run.stages[1].artifact != aside.stage.artifact
    assert not workspace.aside("run").exists()


@pytest.mark.parametrize(
    "fields", [{"seed": 1}, {"eval": {"batch_size": 4, "limit": 7}}], ids=["seed", "eval"]
)
def test_a_stage_of_an_earlier_run_of_the_same_name_is_not_taken(
    learn: Learn, aside: SetAside, workspace: Workspace, fields: dict[str, Any]
) -> None:
    (workspace.root / "registry.db").unlink()
    workspace.create()
    with pytest.raises(Interrupted):
        learn("a", "b", "c", observer=Ends(Interrupted, "2/3 b: training", 1), **fields)
    aside.write(workspace.aside("run"))  # the new run's first stage cleared it away
    with pytest.raises(InputError, match=r"^--accept b: stage 2 b, which is set aside, was made for other"):
        learn("a", "b", "c", options=ACCEPTED, **fields)


def test_a_disk_that_is_full_while_a_stage_is_set_aside_loses_nothing(
    learn: Learn, costly: None, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("lori_cl.registry.aside.write_durably", full)
        with pytest.raises(WorkspaceUnusable) as found:
            learn("a", "b", options=GATED)
    assert str(found.value) == (
        f"stage 2 b cannot be set aside in {workspace.aside('run')}: No space left on device; "
        "make room, and the same command goes on"
    )
    monkeypatch.setattr(lesson_trainer.LessonTrainer, "train_on", lambda *_: pytest.fail("trained"))
    with pytest.raises(RegressionFound, match="--accept b takes it"):
        learn("a", "b", options=GATED)
    assert stages(workspace) == ["a"]


def test_a_view_that_is_not_scored_is_refused_before_anything_is_trained(learn: Learn) -> None:
    with pytest.raises(InputError, match=r"routed: the curriculum's eval\.views are as_trained, current"):
        learn("a", options=RunOptions(gate=Gate(1.0, View.ROUTED)))


@pytest.mark.parametrize("points", [math.nan, math.inf])
def test_a_gate_that_could_never_close_is_refused(learn: Learn, points: float) -> None:
    with pytest.raises(InputError, match=rf"^--max-drop {points}: no drop is larger; give a number"):
        learn("a", options=RunOptions(gate=Gate(points)))


def test_a_damaged_file_is_said_to_be_so(learn: Learn, aside: SetAside, workspace: Workspace) -> None:
    file: Path = workspace.aside("run")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ArtifactDamaged, match="remove it to train the stage again"):
        learn("a", "b", "c", options=GATED)
