"""Scores that are measured again from a run's files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import InputError, UnknownTask, Untruth
from lori_cl.registry import Run, Workspace
from lori_cl.serving import remeasure as module
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.serving.retire import retire_task
from lori_cl.training import RunOptions, SilentObserver, learning

from .forging import forge, forge_score, lie, rewrite_records, told

Learn = Callable[..., Run]


def again(workspace: Workspace, *tasks: str, stages: frozenset[int] | None = None) -> list[str]:
    with workspace.read() as registry:
        options = RemeasureOptions(tasks, stages=stages)
        found = list(remeasure(workspace, registry, "run", options, SilentObserver()))
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


def test_every_cell_is_scored_again_from_row_0_to_the_last_stage_under_every_view(
    learned: Workspace,
) -> None:
    *lines, summary = again(learned)
    assert lines == [f"measured again: {cell}: all 8 outcomes are equal" for cell in CELLS]
    assert summary == "remeasure: 11 scores are as recorded, of 8 different inputs; none was left out"


def test_rows_that_are_not_asked_for_are_named_with_the_reason(learned: Workspace) -> None:
    *lines, summary = again(learned, stages=frozenset({0, 2}))
    left_out = [line for line in lines if line.startswith("not measured again: ")]
    assert left_out == [f"not measured again: {cell}: --stages names 0, 2" for cell in CELLS[2:5]]
    assert summary.startswith("remeasure: 8 scores are as recorded")
    assert summary.endswith("; 3 scores were not measured again")


def test_a_score_of_a_task_that_is_not_learned_yet_is_named_as_not_measured(
    learn: Learn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach, trained = learning.teach, []

    def die_in_the_second_stage(*arguments: Any) -> Any:
        trained.append(1)
        return teach(*arguments) if len(trained) == 1 else 1 / 0

    monkeypatch.setattr(learning, "teach", die_in_the_second_stage)
    with pytest.raises(ZeroDivisionError):
        learn("a", "b")
    left_out = [line for line in again(workspace) if line.startswith("not measured again")]
    assert left_out == [
        "not measured again: stage 0, the base model, b under base: the run has not learned its task, so "
        "its question is not loaded"
    ]


def test_scores_of_tasks_to_come_and_of_retired_tasks_are_measured_again(
    learn: Learn, workspace: Workspace
) -> None:
    routed = {"batch_size": 4, "views": ["as_trained", "current", "routed"]}
    learn("a", "b", options=RunOptions(upper_triangle=True), eval=routed)
    retire_task(workspace, "run", "b")
    learn("a", "b", "c", options=RunOptions(upper_triangle=True), eval=routed)
    *lines, summary = again(workspace)
    assert {line.partition(":")[0] for line in lines} == {"measured again"}
    with workspace.read() as registry:
        assert len(lines) == len(registry.evaluations("run"))
    assert summary.endswith("none was left out")


def test_a_stage_that_is_not_there_is_refused(learned: Workspace) -> None:
    with pytest.raises(InputError, match=r"^run 'run' has stages 0 to 2, and no stage 3$"):
        again(learned, stages=frozenset({3, 7}))


@pytest.mark.parametrize(("stage", "view"), [(0, "base"), (1, "current"), (2, "routed")])
def test_a_forged_score_of_any_row_is_found_when_it_is_measured_again(
    learned: Workspace, stage: int, view: str
) -> None:
    forge_score(learned, stage, "a", view)
    rewrite_records(learned)
    with pytest.raises(Untruth, match=f"^stage {stage}.*, a under {view}: measured again with"):
        again(learned)


def test_only_the_tasks_that_are_named_are_scored_again(learned: Workspace) -> None:
    *lines, _ = again(learned, "b")
    assert {line.partition(" under")[0] for line in lines} == {
        "measured again: stage 0, the base model, b",
        "measured again: stage 2 b, b",
    }


def test_scores_that_agree_with_their_answers_but_not_with_the_model_are_found(learned: Workspace) -> None:
    with learned.read() as registry:
        recorded = registry.evaluations("run")
    answers = next(e.answers for e in recorded if (e.stage, e.task, e.view) == (2, "a", "current"))
    turned = {"red": "blue", "blue": "red"}  # a text holds one of the two, so right becomes wrong
    lines = [json.loads(line) for line in learned.artifacts.get(answers, "jsonl").splitlines()]
    lines = [{**line, "answer": turned[line["answer"]], "outcome": 1 - line["outcome"]} for line in lines]
    forged = forge(learned, answers, "jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    outcomes = json.dumps([line["outcome"] for line in lines])
    lie(
        learned,
        f"UPDATE evaluations SET score = 1 - score, outcomes = '{outcomes}' WHERE answers = '{forged}'",
    )
    rewrite_records(learned)
    assert "score chain" in told(learned), "all of the lie hangs together"
    said = r"^stage \d.*, a under \w+: measured again with \w{64}, 8 of 8 outcomes differ, by 1 at most: "
    with pytest.raises(Untruth, match=said):
        again(learned, "a")


def test_where_the_environment_is_another_one_the_line_says_so(
    learned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = module.environment
    monkeypatch.setattr(module, "environment", lambda folder: {**here(folder), "threads": 7, "platform": "x"})
    *lines, _ = again(learned, "b")
    assert {line.partition(" outcomes are equal; ")[2] for line in lines} == {
        "last bits may differ, with threads 7 (then 1)"
    }


def test_measuring_again_writes_nothing(learned: Workspace) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in learned.root.rglob("*")}

    before = files()
    again(learned, "a")
    assert files() == before


def test_a_task_that_was_never_learned_is_refused_before_anything_is_measured(learned: Workspace) -> None:
    with learned.read() as registry, pytest.raises(UnknownTask, match=r"learned 'c'\. There are: a, b"):
        remeasure(learned, registry, "run", RemeasureOptions(("c",)), SilentObserver())


def test_what_it_is_measured_with_is_looked_up_once(
    learned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr(module, "environment", lambda folder: looked.append(folder) or {})
    assert len(again(learned)) == 12
    assert looked == [learned.root]
