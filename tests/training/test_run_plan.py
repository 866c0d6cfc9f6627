"""A planned run says what the run then does, and stores nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerCallback

from lori_cl.errors import CapacityExhausted, InputError, RunConflict
from lori_cl.registry import Evaluation, Run, ScoredStage, Workspace
from lori_cl.reports.plan_table import print_plan
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, RunPlan, plan_curriculum
from tests.registry.registry_records import contents

TrainRun = Callable[..., Run]
Plan = Callable[..., RunPlan]
FIELDS: dict[str, Any] = {
    "masks": {"strategy": "magnitude", "density": 0.2, "calibration": {"epochs": 2}},
    "train": {"epochs": 3, "epochs_of": {"b": 1}, "batch_size": 8, "max_length": 16},
}


@pytest.fixture
def plan(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Plan:
    """Return a function that plans a run over tasks."""

    def made(*tasks: str, name: str = "run", options: RunOptions | None = None, **fields: object) -> RunPlan:
        register_tasks(workspace, [write_task(task) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return plan_curriculum(workspace, spec, name, options or RunOptions())

    return made


ISOLATED = {"adapter": {"rank": 4, "alpha": 8, "composition": "isolated"}}
ALL_VIEWS = {"eval": {"views": ["current", "as_trained", "routed"]}}


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, RunOptions()),
        (ISOLATED, RunOptions()),
        (ISOLATED, RunOptions(upper_triangle=True)),
        (ALL_VIEWS, RunOptions(upper_triangle=True)),
        ({}, RunOptions(measure_all=True)),
        ({"eval": {"views": ["as_trained"]}}, RunOptions(upper_triangle=True)),
        ({"eval": {"sample": 4}}, RunOptions(upper_triangle=True)),
    ],
    ids=[
        "stacked",
        "isolated",
        "isolated-upper",
        "all-views-upper",
        "measure-all",
        "as-trained-upper",
        "sample",
    ],
)
def test_run_does_what_was_planned(
    plan: Plan,
    train_run: TrainRun,
    scores: Callable[[], dict[tuple[int, str, str], Evaluation]],
    changes: dict[str, Any],
    options: RunOptions,
) -> None:
    planned = plan("a", "b", "c", options=options, **FIELDS, **changes)
    run = train_run("a", "b", "c", options=options, **FIELDS, **changes)
    found = scores().values()
    for stage, done in zip(planned.stages, run.stages, strict=True):
        of_stage = [score for score in found if score.stage == stage.position]
        measured = [score for score in of_stage if score.source == "measured"]
        assert done.mask is not None
        assert (stage.task, stage.examples, stage.steps) == (done.task, done.n_train, done.steps)
        assert stage.adapter_values == done.mask.cells
        assert (stage.scores, stage.measured_scores) == (len(of_stage), len(measured))
        assert stage.measured_examples == sum(score.n for score in measured)
        assert stage.head_values == 2 * 16 + 2
    assert [stage.calibration_steps for stage in planned.stages] == [4, 4, 4]
    assert planned.base_scores == 3


def test_planning_stores_nothing(plan: Plan, workspace: Workspace) -> None:
    plan("a", **FIELDS)
    before = contents(workspace.root)
    plan("a", **FIELDS)
    assert contents(workspace.root) == before
    assert not workspace.path("locks").exists()


def test_plan_of_an_interrupted_run_has_only_the_stages_that_are_left(
    plan: Plan, train_run: TrainRun
) -> None:
    train_run("a", **FIELDS)
    planned = plan("a", "b", **FIELDS)
    assert [stage.task for stage in planned.stages] == ["b"]
    assert (planned.stages_done, planned.base_scores) == (1, 1)
    assert plan("a", **FIELDS).stages == []


def test_plan_is_refused_as_the_run_would_be(plan: Plan, train_run: TrainRun) -> None:
    train_run("a", **FIELDS)
    with pytest.raises(RunConflict, match="seed = 0 \\(now 1\\)"):
        plan("a", "b", **FIELDS, seed=1)
    with pytest.raises(CapacityExhausted):
        plan("a", "b", name="other", masks={"density": 0.9})
    with pytest.raises(InputError, match="train:"):
        plan("a", name="other", train={"scheduler": "cosin"})


def test_memory_counts_the_base_model_the_adapter_and_the_state_of_adam(plan: Plan) -> None:
    planned = plan("a", **FIELDS)
    head, cells, rows = 2 * 16 + 2, 448, 4 * (16 + 16) * 4 + 4 * (16 + 32) * 2
    # Calibration trains every free cell: 16 bytes each, and 8 for its index.
    assert planned.memory_bytes == planned.base_bytes + 16 * (cells + head) + 8 * cells + 4 * rows
    random = plan("a", masks={"strategy": "random", "density": 0.1})
    assert random.memory_bytes == random.base_bytes + 16 * (45 + head) + 8 * 45 + 4 * rows


def test_every_stage_of_a_plain_lora_trains_all_of_its_weights(plan: Plan) -> None:
    planned = plan("a", "b", method="sequential-lora")
    assert [stage.adapter_values for stage in planned.stages] == [4 * (4 * 32 + 2 * 48)] * 2


def test_time_is_estimated_from_runs_of_the_same_base_model_settings_and_device(
    plan: Plan, train_run: TrainRun, workspace: Workspace
) -> None:
    assert plan("a", **FIELDS).time_s is None
    run = train_run("a", name="earlier", **FIELDS)
    planned = plan("a", "b", **FIELDS)
    assert planned.timed_by == ["earlier"]
    assert planned.stages[0].time_s is not None
    assert planned.stages[0].time_s >= run.stages[0].train_s
    assert planned.time_s == pytest.approx(
        sum(stage.time_s or 0 for stage in planned.stages) + (planned.base_time_s or 0)
    )
    other = plan("a", "b", **{**FIELDS, "train": {**FIELDS["train"], "batch_size": 4}})
    assert (other.timed_by, other.time_s) == ([], None)


def test_time_of_another_device_is_not_used(
    plan: Plan, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a", name="earlier", **FIELDS)
    monkeypatch.setattr("lori_cl.runtime.environment.torch.get_num_threads", lambda: 99)
    assert plan("a", **FIELDS).timed_by == []


def test_held_back_stage_is_named(plan: Plan, train_run: TrainRun, workspace: Workspace) -> None:
    run = train_run("a", **FIELDS)
    parents = tuple((stage.artifact, stage.retired_after) for stage in run.stages)
    stage = replace(run.stages[0], position=2, task="b")
    ScoredStage({}, parents, stage, [], {}, []).write(workspace.held_back_file("run"))
    assert plan("a", "b", **FIELDS).held_back == "b"


class MemoryInUse(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Records the bytes of parameters, buffers, gradients and the optimizer's state before each step."""

    def __init__(self) -> None:
        self.most: dict[int, int] = {}
        self.stage = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.stage += 1

    def on_pre_optimizer_step(self, *_: Any, model: Any, optimizer: Any, **__: Any) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        tensors += [p.grad for p in model.parameters() if p.grad is not None]
        tensors += [each for state in optimizer.optimizer.state.values() for each in state.values()]
        used = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.most[self.stage] = max(used, self.most.get(self.stage, 0))


@pytest.mark.parametrize("projection", ["shared", "per-task"])
def test_memory_is_that_of_the_tensors_in_training(plan: Plan, train_run: TrainRun, projection: str) -> None:
    fields = {
        "masks": {"strategy": "random", "density": 0.3},
        "adapter": {"rank": 4, "alpha": 8, "projection": projection},
    }
    planned, used = plan("a", "b", **fields), MemoryInUse()
    train_run("a", "b", options=RunOptions(callbacks=[used]), **fields)
    for stage in planned.stages:
        assert stage.memory_bytes == pytest.approx(used.most[stage.position], rel=0.01)


def test_plan_says_that_the_run_does_not_fit(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not shown(plan("a")).count("does not fit")
    monkeypatch.setattr("lori_cl.training.run_plan.free_bytes", lambda: 0)
    assert "the run does not fit: 0 MB are available; set model.dtype: bfloat16" in shown(plan("a"))


def shown(plan: RunPlan) -> str:
    console = Console(width=200, record=True, file=StringIO())
    print_plan(plan, console)
    return console.export_text()
