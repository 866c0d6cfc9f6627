"""Scores of a run that are measured again from its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import InputError, UnknownTask, VerificationError
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving import remeasure as module
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.serving.retire import retire_task
from lori_cl.training import RunOptions, stage_training

from .forging import execute_sql, findings, forge, forge_score, rebuild_stage_records

TrainRun = Callable[..., Run]


def remeasured(workspace: Workspace, *tasks: str, stages: frozenset[int] | None = None) -> list[str]:
    with workspace.read() as registry:
        options = RemeasureOptions(tasks, stages=stages)
        found = list(remeasure(workspace, registry, "run", options, SilentProgress()))
    assert found[-1].check == "remeasure"
    return [f"{passed.check}: {passed.found}" for passed in found]


CELLS = (
    "stage 0, the base model, a under base",
    "stage 0, the base model, b under base",
    "stage 1 a, a under as_trained",
    "stage 1 a, a under current",
    "stage 1 a, a under routed",
    "stage 2 b, a under as_trained",
    "stage 2 b, b under as_trained",
    "stage 2 b, a under current",
    "stage 2 b, b under current",
    "stage 2 b, a under routed",
    "stage 2 b, b under routed",
)


def test_every_score_is_remeasured_under_every_view(
    trained: Workspace,
) -> None:
    *lines, summary = remeasured(trained)
    assert lines == [f"measured again: {cell}: all 8 outcomes are equal" for cell in CELLS]
    assert summary == "remeasure: 11 scores are as recorded, of 8 different inputs; none was left out"


def test_skipped_stages_are_listed_with_the_reason(trained: Workspace) -> None:
    *lines, summary = remeasured(trained, stages=frozenset({0, 2}))
    left_out = [line for line in lines if line.startswith("not measured again: ")]
    assert left_out == [f"not measured again: {cell}: --stages names 0, 2" for cell in CELLS[2:5]]
    assert summary.startswith("remeasure: 8 scores are as recorded")
    assert summary.endswith("; 3 scores were not measured again")


def test_score_of_an_untrained_task_is_listed_as_not_measured(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job, trained = stage_training.run_job, []

    def fail_in_the_second_stage(*arguments: Any) -> Any:
        trained.append(1)
        return run_job(*arguments) if len(trained) == 1 else 1 / 0

    monkeypatch.setattr(stage_training, "run_job", fail_in_the_second_stage)
    with pytest.raises(ZeroDivisionError):
        train_run("a", "b")
    left_out = [line for line in remeasured(workspace) if line.startswith("not measured again")]
    assert left_out == [
        "not measured again: stage 0, the base model, b under base: the run has not learned its task, so "
        "its question is not loaded"
    ]


def test_scores_of_future_and_retired_tasks_are_remeasured(train_run: TrainRun, workspace: Workspace) -> None:
    routed = {"batch_size": 4, "views": ["as_trained", "current", "routed"]}
    train_run("a", "b", options=RunOptions(upper_triangle=True), eval=routed)
    retire_task(workspace, "run", "b")
    train_run("a", "b", "c", options=RunOptions(upper_triangle=True), eval=routed)
    *lines, summary = remeasured(workspace)
    assert {line.partition(":")[0] for line in lines} == {"measured again"}
    with workspace.read() as registry:
        assert len(lines) == len(registry.evaluations("run"))
    assert summary.endswith("none was left out")


def test_unknown_stage_is_refused(trained: Workspace) -> None:
    with pytest.raises(InputError, match=r"^run 'run' has stages 0 to 2, and no stage 3$"):
        remeasured(trained, stages=frozenset({3, 7}))


@pytest.mark.parametrize(("stage", "view"), [(0, "base"), (1, "current"), (2, "routed")])
def test_remeasuring_detects_a_forged_score_of_any_stage(trained: Workspace, stage: int, view: str) -> None:
    forge_score(trained, stage, "a", view)
    rebuild_stage_records(trained)
    with pytest.raises(VerificationError, match=f"^stage {stage}.*, a under {view}: measured again with"):
        remeasured(trained)


def test_only_the_named_tasks_are_remeasured(trained: Workspace) -> None:
    *lines, _ = remeasured(trained, "b")
    assert {line.partition(" under")[0] for line in lines} == {
        "measured again: stage 0, the base model, b",
        "measured again: stage 2 b, b",
    }


def test_remeasuring_detects_forged_answers_with_consistent_scores(trained: Workspace) -> None:
    with trained.read() as registry:
        recorded = registry.evaluations("run")
    answers = next(e.answers for e in recorded if (e.stage, e.task, e.view) == (2, "a", "current"))
    swapped = {
        "red": "blue",
        "blue": "red",
    }  # each text contains one of the two, so correct answers become wrong
    lines = [json.loads(line) for line in trained.artifacts.get(answers, "jsonl").splitlines()]
    lines = [{**line, "answer": swapped[line["answer"]], "outcome": 1 - line["outcome"]} for line in lines]
    forged = forge(trained, answers, "jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    outcomes = json.dumps([line["outcome"] for line in lines])
    execute_sql(
        trained,
        f"UPDATE evaluations SET score = 1 - score, outcomes = '{outcomes}' WHERE answers = '{forged}'",
    )
    rebuild_stage_records(trained)
    assert "score chain" in findings(trained), "the forged rows are consistent"
    message = r"^stage \d.*, a under \w+: measured again with \w{64}, 8 of 8 outcomes differ, by 1 at most: "
    with pytest.raises(VerificationError, match=message):
        remeasured(trained, "a")


def test_another_environment_is_named_in_each_line(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual_environment = module.environment
    monkeypatch.setattr(
        module, "environment", lambda folder: {**actual_environment(folder), "threads": 7, "platform": "x"}
    )
    *lines, _ = remeasured(trained, "b")
    assert {line.partition(" outcomes are equal; ")[2] for line in lines} == {
        "last bits may differ, with threads 7 (then 1)"
    }


def test_remeasuring_writes_nothing(trained: Workspace) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in trained.root.rglob("*")}

    before = files()
    remeasured(trained, "a")
    assert files() == before


def test_untrained_task_is_refused_before_anything_is_measured(trained: Workspace) -> None:
    with (
        trained.read() as registry,
        pytest.raises(UnknownTask, match=r"trained task 'c'\. Trained tasks: a, b"),
    ):
        remeasure(trained, registry, "run", RemeasureOptions(("c",)), SilentProgress())


def test_environment_is_queried_once(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    queried = []
    monkeypatch.setattr(module, "environment", lambda folder: queried.append(folder) or {})
    assert len(remeasured(trained)) == 12
    assert queried == [trained.root]
