"""Scores that are measured again from a run's files."""

import json
from pathlib import Path

import pytest

from lori_cl.errors import UnknownTask, Untruth
from lori_cl.registry import Workspace
from lori_cl.serving import remeasure as module
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.training import SilentObserver

from .forging import forge, lie, told


def again(workspace: Workspace, *tasks: str) -> list[str]:
    with workspace.read() as registry:
        options = RemeasureOptions(tasks)
        return [passed.found for passed in remeasure(workspace, registry, "run", options, SilentObserver())]


def test_every_task_is_scored_again_after_its_own_stage_and_the_last_one_under_every_view(
    learned: Workspace,
) -> None:
    assert again(learned) == [
        f"{where}: all 8 outcomes are equal"
        for where in (
            "stage 1 a, a under as_trained",
            "stage 2 b, a under as_trained",
            "stage 2 b, a under current",
            "stage 2 b, a under routed",
            "stage 2 b, b under as_trained",
            "stage 2 b, b under current",
            "stage 2 b, b under routed",
        )
    ]


def test_only_the_tasks_that_are_named_are_scored_again(learned: Workspace) -> None:
    assert {line.partition(" under")[0] for line in again(learned, "b")} == {"stage 2 b, b"}


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
    assert "scores" in told(learned), "all of the lie hangs together"
    said = r"^stage \d \w, a under \w+: measured again with \w{64}, 8 of 8 outcomes differ, by 1 at most: "
    with pytest.raises(Untruth, match=said):
        again(learned, "a")


def test_where_the_environment_is_another_one_the_line_says_so(
    learned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = module.environment
    monkeypatch.setattr(module, "environment", lambda folder: {**here(folder), "threads": 7, "platform": "x"})
    assert {line.partition(" outcomes are equal; ")[2] for line in again(learned, "b")} == {
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
    assert len(again(learned)) == 7
    assert looked == [learned.root]
