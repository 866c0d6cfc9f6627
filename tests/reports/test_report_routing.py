from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lori_cl.registry import ArtifactStore
from lori_cl.reports import RunReport, gather, gather_routing, print_report, print_routing, to_record

from .conftest import N, Recorder, Rendered, evaluation

TASKS = ("sst2", "agnews", "qqp")
ROUTED_TO = {"sst2": (18, 2, 0), "agnews": (5, 10, 5), "qqp": (0, 0, 20)}
"""Number of each task's 20 examples that were routed to each task."""


@pytest.fixture
def artifacts(recorder: Recorder, tmp_path: Path) -> ArtifactStore:
    """Return the answers of a run 'first' that was routed only after its last stage."""
    store = ArtifactStore(tmp_path / "artifacts")
    recorder.run()
    with_answers = []
    files = {}
    for task in recorder.registry.run("first").tasks:
        routed_to = [to for to, count in zip(TASKS, ROUTED_TO[task.label], strict=True) for _ in range(count)]
        lines = [json.dumps({"answer": "a\u2028b", "sent_to": to}, ensure_ascii=False) for to in routed_to]
        digest = store.put("\n".join([*lines, ""]).encode(), "jsonl")
        parts = {"routing_accuracy": routed_to.count(task.label) / N}
        score = evaluation(3, task, "routed", 0.6)
        with_answers.append(replace(score, answers=digest, parts=parts))
        files[digest] = ("jsonl", 1)
    recorder.registry.commit_stage("first", None, with_answers, files)
    return store


@pytest.fixture
def report(recorder: Recorder, artifacts: ArtifactStore) -> RunReport:
    return gather(recorder.registry, "first")


def test_report_of_an_unrouted_run_has_no_routed_view(worked_report: RunReport, rendered: Rendered) -> None:
    assert [view.name for view in worked_report.views] == ["as_trained", "current"]
    assert "routed" not in rendered(print_report, [worked_report])


def test_view_that_was_added_later_has_scores_only_after_the_last_stage(report: RunReport) -> None:
    view = to_record(report)["views"]["routed"]
    assert view["matrix"][1:] == [[None] * 3, [None] * 3, [0.6] * 3]
    assert view["matrix"][0] == [0.5, 0.25, 0.05]
    assert view["metrics"]["acc"] == pytest.approx(0.6)


def test_metrics_that_need_earlier_stages_are_missing_and_name_the_cell(report: RunReport) -> None:
    missing = to_record(report)["views"]["routed"]["missing"]
    assert {"bwt", "forgetting", "learning_accuracy", "average_anytime_accuracy", "fwt"} <= missing.keys()
    assert missing["bwt"] == "R[1, sst2] was not evaluated"


def test_upper_triangle_is_not_suggested_for_the_routed_view(report: RunReport, rendered: Rendered) -> None:
    routed = rendered(print_report, [report], width=200).partition("view routed: forward transfer missing")[2]
    assert routed
    assert "--upper-triangle" not in routed


def test_routing_accuracy_is_printed_with_the_scores(report: RunReport, rendered: Rendered) -> None:
    text = rendered(print_report, [report])
    assert "sst2: routing accuracy 90.0" in text
    assert "agnews: routing accuracy 50.0" in text


def test_terminal_explains_the_routed_view(report: RunReport, rendered: Rendered) -> None:
    text = " ".join(rendered(print_report, [report]).split())
    assert "routed: each example's task is predicted" in text


def test_routing_table_has_every_view_and_the_confusion_of_tasks(
    recorder: Recorder, artifacts: ArtifactStore, rendered: Rendered
) -> None:
    routing = gather_routing(recorder.registry, artifacts, "first")
    assert {task.task: tuple(task.routed_to.values()) for task in routing.tasks} == ROUTED_TO
    text = rendered(print_routing, routing)
    assert re.search(r"sst2 +60\.0 +70\.0 +60\.0 +90\.0 +20\n", text)
    assert re.search(r"mean +66\.7 +75\.0 +60\.0 +80\.0 +60\n", text)
    assert re.search(r"agnews +5 +10 +5\n", text)


def test_missing_score_is_a_dash_and_its_view_has_no_mean(
    recorder: Recorder, artifacts: ArtifactStore, rendered: Rendered
) -> None:
    routing = gather_routing(recorder.registry, artifacts, "first")
    first = replace(routing.tasks[0], current=None)
    text = rendered(print_routing, replace(routing, tasks=(first, *routing.tasks[1:])))
    assert re.search(r"sst2 +60\.0 +– +60\.0", text)
    assert re.search(r"mean +66\.7 +– +60\.0", text)
