from __future__ import annotations

import re
from dataclasses import replace

from lori_cl.reports import RunReport, gather, print_outcome, print_report
from lori_cl.reports.tables import metric_tables

from .conftest import Recorder, Shown


def test_every_number_is_readable_without_colour(worked: RunReport, shown: Shown) -> None:
    text = shown(print_report, [worked])
    assert re.search(r"Final average \(acc\), % +66\.7 +75\.0", text)
    assert re.search(r"Backward transfer \(bwt\), points +0\.0 +\+12\.5", text)
    assert re.search(r"Forgetting, points +0\.0 +−2\.5", text)
    assert re.search(r"base +50\.0 +25\.0 +5\.0", text)
    assert re.search(r"3 qqp +70\.0 +\+10\.0 +65\.0 +\+15\.0 +90\.0", text)


def test_a_proved_score_is_marked_and_the_mark_explained(worked: RunReport, shown: Shown) -> None:
    text = shown(print_report, [worked])
    assert re.search(r"3 qqp +60\.0= +0\.0 +50\.0= +0\.0 +90\.0", text)
    assert "= marks a proved score" in text


def test_a_drop_is_shown_in_points_with_its_p_value(recorder: Recorder, shown: Shown) -> None:
    rows = ((0.9, None, None), (0.9, 0.5, None), (0.2, 0.5, 0.9))
    text = shown(print_report, [gather(recorder.registry, recorder.run(rows=rows))])
    assert "sst2 −70.0 points (McNemar p < 0.001)" in text
    assert "agnews 0.0 points (McNemar p = 1.000)" in text


def test_several_runs_stand_side_by_side_under_each_view(recorder: Recorder, shown: Shown) -> None:
    rows = ((0.9, None, None), (0.9, 0.5, None), (0.2, 0.5, 0.9))
    recorder.run("first")
    recorder.run("second", rows=rows, method="sequential-lora")
    text = shown(print_report, [gather(recorder.registry, name) for name in ("first", "second")])
    current = text[text.index("Metrics, view current") : text.index("View as_trained")]
    assert re.search(r" +first +second", current)
    assert re.search(r"Final average \(acc\), % +75\.0 +53\.3", current)


def test_without_masks_the_as_trained_view_costs_a_copy_per_task(recorder: Recorder, shown: Shown) -> None:
    report = gather(recorder.registry, recorder.run(method="sequential-lora"))
    text = " ".join(shown(print_report, [report]).split())
    assert "Every stage overwrites the whole adapter" in text
    assert "one whole copy of the adapter for each task" in text


def test_how_to_read_it_is_said_in_words(worked: RunReport, shown: Shown) -> None:
    text = " ".join(shown(print_report, [worked]).split())
    assert "current: each task is scored with everything learned so far" in text
    assert "A classification head always belongs to its task" in text
    assert "Row 0: the base model, zero-shot" in text
    assert "it is the baseline of fwt" in text


def test_an_unfinished_run_says_how_far_it_is(recorder: Recorder, shown: Shown) -> None:
    text = shown(print_report, [gather(recorder.registry, recorder.run(rows=[]))])
    assert "0 of 3 stages" in text
    assert "learning accuracy, average anytime accuracy missing: needs at least one task" in text


def test_a_missing_fwt_says_how_to_get_it(worked: RunReport, shown: Shown) -> None:
    text = shown(print_report, [worked], width=200)
    assert "forward transfer missing: R[1, agnews] was not evaluated; lori-cl run --upper-triangle" in text


def test_what_is_missing_in_every_view_is_said_once(recorder: Recorder, shown: Shown) -> None:
    begun = gather(recorder.registry, recorder.run(rows=[]))
    assert len(begun.views) == 2
    assert shown(print_report, [begun], width=200).count("forward transfer missing") == 1


def test_what_only_one_view_misses_is_said_of_it(worked: RunReport, shown: Shown) -> None:
    assert "view as_trained: forward transfer missing" in shown(print_report, [worked], width=200)


def test_a_metric_that_is_missing_everywhere_has_no_row(recorder: Recorder) -> None:
    assert metric_tables([gather(recorder.registry, recorder.run(rows=[]))]) == []


def test_a_name_in_brackets_is_no_markup(recorder: Recorder, shown: Shown) -> None:
    name = recorder.run(tasks=["[red]a[/red]", "agnews", "qqp"])
    assert "1 [red]a[/red]" in shown(print_report, [gather(recorder.registry, name)])


def test_five_tasks_fit_into_80_columns(recorder: Recorder, shown: Shown) -> None:
    tasks = ["sst2", "agnews", "qqp", "mnli", "amazon"]
    rows = [[0.5] * 5] * 5
    text = shown(print_report, [gather(recorder.registry, recorder.run("r", tasks, rows, rows[0]))], width=80)
    assert len(re.findall(r"^5 amazon( +50\.0=? +0\.0){4} +50\.0", text, re.MULTILINE)) == 2
    assert "…" not in text


def test_a_runs_outcome_is_its_matrices_and_where_the_rest_stands(worked: RunReport, shown: Shown) -> None:
    text = shown(print_outcome, worked)
    assert re.search(r"3 qqp +70\.0 +\+10\.0 +65\.0 +\+15\.0 +90\.0", text)
    assert f"Metrics and lineage: lori-cl report {worked.run.name}" in text
    assert "seeds" not in text


def test_examples_that_were_cut_are_counted_where_there_are_any(worked: RunReport, shown: Shown) -> None:
    assert "cut" not in shown(print_outcome, worked)
    views = tuple(replace(view, truncated=(0, 3, 0)) for view in worked.views)
    assert re.search(r"^cut +0 +3 +0", shown(print_outcome, replace(worked, views=views)), re.MULTILINE)


def test_a_scores_parts_are_told_in_percent(worked: RunReport, shown: Shown) -> None:
    assert "qqp: refusal rate 45.0, answer rate 90.0" in shown(print_report, [worked])
