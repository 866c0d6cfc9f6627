from __future__ import annotations

import json
from typing import Any

import pytest

from lori_cl.errors import UnknownRun
from lori_cl.reports import FORMATS, RunReport, gather, to_record

from .conftest import BASE, WORKED, Recorder


def record_of(recorder: Recorder, name: str) -> dict[str, Any]:
    return to_record(gather(recorder.registry, name))


def test_a_record_has_the_keys_of_schema_2(worked_report: RunReport) -> None:
    record = to_record(worked_report)
    assert record["schema"] == 2
    assert {"run", "tasks", "views", "capacity", "lineage"} <= set(record)
    assert set(record["views"]) == {"as_trained", "current"}
    for view in record["views"].values():
        assert {"matrix", "n", "source", "metrics"} <= set(view)


def test_row_0_of_both_views_is_the_base_model_score(worked_report: RunReport) -> None:
    views = to_record(worked_report)["views"]
    assert views["as_trained"]["matrix"][0] == views["current"]["matrix"][0] == list(BASE)


def test_the_matrix_is_the_worked_example(worked_report: RunReport) -> None:
    matrix = to_record(worked_report)["views"]["current"]["matrix"]
    assert matrix[1:] == [list(row) for row in WORKED]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("acc", 0.75),
        ("bwt", 0.125),
        ("forgetting", -0.025),
        ("learning_accuracy", 2 / 3),
        ("average_anytime_accuracy", 2 / 3),
        ("fwt", ((0.7 - 0.25) + (0.2 - 0.05)) / 2),
    ],
)
def test_the_metrics_are_those_of_the_worked_example(
    worked_report: RunReport, metric: str, value: float
) -> None:
    metrics = to_record(worked_report)["views"]["current"]["metrics"]
    assert metrics[metric] == pytest.approx(value, abs=1e-12)


def test_a_cell_that_was_not_evaluated_is_null(worked_report: RunReport) -> None:
    view = to_record(worked_report)["views"]["as_trained"]
    assert view["matrix"][1][1:] == [None, None]
    assert view["source"][1] == ["measured", None, None]
    assert view["stderr"][1] == [0.1, None, None]


def test_missing_metric_is_null_and_names_the_missing_cell(worked_report: RunReport) -> None:
    view = to_record(worked_report)["views"]["as_trained"]
    assert view["metrics"]["fwt"] is None
    assert "R[1, agnews]" in view["missing"]["fwt"]


def test_record_distinguishes_cached_and_measured_cells(worked_report: RunReport) -> None:
    source = to_record(worked_report)["views"]["as_trained"]["source"]
    assert source[3] == ["cached", "cached", "measured"]


def test_n_is_the_number_of_examples_of_each_task(worked_report: RunReport) -> None:
    assert to_record(worked_report)["views"]["current"]["n"] == [20, 20, 20]


def test_a_task_that_was_never_scored_has_no_n(recorder: Recorder) -> None:
    name = recorder.run(rows=[], base=(0.5, None, 0.5))
    assert record_of(recorder, name)["views"]["current"]["n"] == [20, None, 20]


def test_change_starts_at_the_stage_that_trained_the_task(worked_report: RunReport) -> None:
    change = to_record(worked_report)["views"]["current"]["change"]
    assert [row[1] for row in change[:3]] == [None, None, 0.0]
    assert change[3][1] == pytest.approx(0.15)


def test_every_earlier_task_is_tested_against_its_own_stage(recorder: Recorder) -> None:
    rows = ((0.9, None, None), (0.9, 0.5, None), (0.2, 0.5, 0.9))
    found = record_of(recorder, recorder.run(rows=rows))["views"]["current"]["significance"]
    assert [each["task"] for each in found] == ["sst2", "agnews"]
    assert found[0]["change"] == pytest.approx(-0.7)
    assert found[0]["worsened"] == 14
    assert found[0]["p_value"] == pytest.approx(2 / 2**14)
    assert found[1]["p_value"] == 1


def test_only_the_current_view_is_tested(worked_report: RunReport) -> None:
    assert to_record(worked_report)["views"]["as_trained"]["significance"] == []


def test_only_the_curriculums_views_are_reported(recorder: Recorder) -> None:
    assert set(record_of(recorder, recorder.run(views=["current"]))["views"]) == {"current"}


def test_lineage_names_every_digest_seed_and_version(worked_report: RunReport) -> None:
    lineage = to_record(worked_report)["lineage"]
    stage = lineage["stages"][1]
    assert len(lineage["base"]["digest"]) == len(lineage["projection"]["digest"]) == 64
    assert len(stage["artifact"]) == len(stage["mask"]["digest"]) == len(stage["train_digest"]) == 64
    assert (stage["task"], stage["n_train"], stage["n_truncated"]) == ("agnews", 1000, 12)
    assert stage["seeds"] == {"mask": 11, "train": 22, "head": 33}
    assert lineage["environment"]["torch"] == "2.6.0"


def test_sequential_lora_has_no_capacity(recorder: Recorder) -> None:
    assert record_of(recorder, recorder.run(method="sequential-lora"))["capacity"] is None


def test_run_without_a_stage_has_only_row_0(recorder: Recorder) -> None:
    record = record_of(recorder, recorder.run(rows=[]))
    assert record["views"]["current"]["matrix"] == [list(BASE)]
    assert set(record["views"]["current"]["metrics"].values()) == {None}


def test_one_run_is_an_object_and_several_are_a_list(worked_report: RunReport) -> None:
    assert json.loads(FORMATS["json"]([worked_report])) == to_record(worked_report)
    assert json.loads(FORMATS["json"]([worked_report, worked_report])) == [
        to_record(worked_report),
        to_record(worked_report),
    ]


def test_error_about_an_unknown_run_suggests_the_nearest_name(recorder: Recorder) -> None:
    recorder.run("first")
    with pytest.raises(UnknownRun, match="'first'"):
        gather(recorder.registry, "frist")


def test_overall_performance_is_the_mean_over_the_tasks_trained_so_far(worked_report: RunReport) -> None:
    assert to_record(worked_report)["views"]["current"]["overall_performance"] == pytest.approx(
        [0.6, 0.65, 0.75]
    )


def test_single_task_runs_provide_single_task_gap_and_retention(recorder: Recorder) -> None:
    recorder.run()
    single_task_scores = {"agnews": 0.6, "qqp": 0.8}
    for task, score in single_task_scores.items():
        assert record_of(recorder, "first")["views"]["current"]["metrics"]["retention"] is None
        recorder.run(f"{task}-alone", tasks=[task], rows=[[score]], base=[None])
    found = record_of(recorder, "first")["views"]["current"]["metrics"]
    # R's diagonal is .6, .5, .9 and its last row .7, .65, .9; sst2's own score comes from the run itself.
    assert found["single_task_gap"] == pytest.approx((0.0 + 0.1 - 0.1) / 3)
    assert found["retention"] == pytest.approx((0.7 / 0.6 + 0.65 / 0.6 + 0.9 / 0.8) / 3)


def test_parts_of_a_score_are_fractions_by_name(worked_report: RunReport) -> None:
    parts = to_record(worked_report)["views"]["current"]["parts"]
    assert parts == [{}, {}, {"refusal_rate": pytest.approx(0.45), "answer_rate": pytest.approx(0.9)}]
