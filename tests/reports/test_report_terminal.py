from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from lori_cl.reports import RunReport, gather, print_capacity, print_outcome, print_report, print_runs
from lori_cl.reports.phrases import percent, points
from lori_cl.reports.plain_tables import MANY_ROWS, add_row, plain_table
from lori_cl.reports.report import Row
from lori_cl.reports.tables import metric_tables

from .conftest import Recorder, Rendered


def test_every_number_is_readable_without_colour(worked_report: RunReport, rendered: Rendered) -> None:
    text = rendered(print_report, [worked_report])
    assert re.search(r"Final average \(acc\), % +66\.7 +75\.0", text)
    assert re.search(r"Backward transfer \(bwt\), points +0\.0 +\+12\.5", text)
    assert re.search(r"Forgetting, points +0\.0 +−2\.5", text)
    assert re.search(r"base +50\.0 +25\.0 +5\.0", text)
    assert re.search(r"3 qqp +70\.0 +\+10\.0 +65\.0 +\+15\.0 +90\.0", text)


def test_cached_score_is_marked_and_the_mark_is_explained(
    worked_report: RunReport, rendered: Rendered
) -> None:
    text = rendered(print_report, [worked_report])
    assert re.search(r"3 qqp +60\.0= +0\.0 +50\.0= +0\.0 +90\.0", text)
    assert "= marks a cached score" in text


def test_a_drop_is_shown_in_points_with_its_p_value(recorder: Recorder, rendered: Rendered) -> None:
    rows = ((0.9, None, None), (0.9, 0.5, None), (0.2, 0.5, 0.9))
    text = rendered(print_report, [gather(recorder.registry, recorder.run(rows=rows))])
    assert "sst2 −70.0 points (McNemar p < 0.001)" in text
    assert "agnews 0.0 points (McNemar p = 1.000)" in text


def test_several_runs_are_columns_of_one_table_per_view(recorder: Recorder, rendered: Rendered) -> None:
    rows = ((0.9, None, None), (0.9, 0.5, None), (0.2, 0.5, 0.9))
    recorder.run("first")
    recorder.run("second", rows=rows, method="sequential-lora")
    text = rendered(print_report, [gather(recorder.registry, name) for name in ("first", "second")])
    current = text[text.index("Metrics, view current") : text.index("View as_trained")]
    assert re.search(r" +first +second", current)
    assert re.search(r"Final average \(acc\), % +75\.0 +53\.3", current)


def test_report_without_masks_says_that_as_trained_needs_a_copy_per_task(
    recorder: Recorder, rendered: Rendered
) -> None:
    report = gather(recorder.registry, recorder.run(method="sequential-lora"))
    text = " ".join(rendered(print_report, [report]).split())
    assert "Every stage overwrites the whole adapter" in text
    assert "one full copy of the adapter for each task" in text


def test_terminal_explains_views_heads_and_row_0(worked_report: RunReport, rendered: Rendered) -> None:
    text = " ".join(rendered(print_report, [worked_report]).split())
    assert "current: each task is scored with everything trained so far" in text
    assert "A classification head always belongs to its task" in text
    assert "Row 0: the base model, zero-shot" in text
    assert "it is the baseline of fwt" in text


def test_report_of_an_unfinished_run_shows_the_number_of_finished_stages(
    recorder: Recorder, rendered: Rendered
) -> None:
    text = rendered(print_report, [gather(recorder.registry, recorder.run(rows=[]))])
    assert "0 of 3 stages" in text
    assert "learning accuracy, average anytime accuracy missing: needs at least one task" in text


def test_missing_fwt_names_the_option_that_measures_it(worked_report: RunReport, rendered: Rendered) -> None:
    text = rendered(print_report, [worked_report], width=200)
    assert "forward transfer missing: R[1, agnews] was not evaluated; lori-cl run --upper-triangle" in text


def test_metric_that_is_missing_in_every_view_is_reported_once(
    recorder: Recorder, rendered: Rendered
) -> None:
    report = gather(recorder.registry, recorder.run(rows=[]))
    assert len(report.views) == 2
    assert rendered(print_report, [report], width=200).count("forward transfer missing") == 1


def test_metric_that_is_missing_in_one_view_is_reported_with_the_view(
    worked_report: RunReport, rendered: Rendered
) -> None:
    assert "view as_trained: forward transfer missing" in rendered(print_report, [worked_report], width=200)


def test_metric_that_is_missing_everywhere_has_no_row(recorder: Recorder) -> None:
    assert metric_tables([gather(recorder.registry, recorder.run(rows=[]))]) == []


def test_name_in_brackets_is_not_markup(recorder: Recorder, rendered: Rendered) -> None:
    name = recorder.run(tasks=["[red]a[/red]", "agnews", "qqp"])
    assert "1 [red]a[/red]" in rendered(print_report, [gather(recorder.registry, name)])


def test_five_tasks_fit_into_80_columns(recorder: Recorder, rendered: Rendered) -> None:
    tasks = ["sst2", "agnews", "qqp", "mnli", "amazon"]
    rows = [[0.5] * 5] * 5
    text = rendered(
        print_report, [gather(recorder.registry, recorder.run("r", tasks, rows, rows[0]))], width=80
    )
    assert len(re.findall(r"^5 amazon( +50\.0=? +0\.0){4} +50\.0", text, re.MULTILINE)) == 2
    assert "…" not in text


def test_outcome_shows_the_matrices_and_names_the_report_command(
    worked_report: RunReport, rendered: Rendered
) -> None:
    text = rendered(print_outcome, worked_report)
    assert re.search(r"3 qqp +70\.0 +\+10\.0 +65\.0 +\+15\.0 +90\.0", text)
    assert f"Metrics and lineage: lori-cl report {worked_report.run.name}" in text
    assert "seeds" not in text


def test_number_of_truncated_examples_is_shown_if_there_are_any(
    worked_report: RunReport, rendered: Rendered
) -> None:
    assert "cut" not in rendered(print_outcome, worked_report)
    views = tuple(replace(view, truncated=(0, 3, 0)) for view in worked_report.views)
    assert re.search(
        r"^cut +0 +3 +0", rendered(print_outcome, replace(worked_report, views=views)), re.MULTILINE
    )


def test_parts_of_a_score_are_shown_in_percent(worked_report: RunReport, rendered: Rendered) -> None:
    assert "qqp: refusal rate 45.0, answer rate 90.0" in rendered(print_report, [worked_report])


@pytest.mark.parametrize(("n", "width"), [(5, 80), (15, 80), (50, 80), (100, 80), (15, 200), (8, 40)])
def test_every_cell_of_a_matrix_is_shown_in_some_block(
    many_task_report: Callable[[int], RunReport], rendered: Rendered, n: int, width: int
) -> None:
    report = many_task_report(n)
    (view,) = [view for view in report.views if view.name == "current"]
    text = rendered(print_outcome, report, width=width)
    text = text[text.index("View current") : text.index("Earlier tasks")]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in view.rows():
        name = f"{row.stage} {row.task}" if row.task else "base"
        # In a narrow column a change is below its score, on a line that begins with a space.
        found = re.findall(rf"^{name} (.*(?:\n .*)*)$", text, re.MULTILINE)
        values = [value for block in found for value in block.split() if re.search(r"\d\.\d", value)]
        assert sorted(values) == sorted(values_of(row))


def values_of(row: Row) -> list[str]:
    """Return a row's scores, and its changes since each task was trained."""
    entries = [entry for entry in row.entries if entry]
    marks = ["=" if entry.cell.source == "cached" else "" for entry in entries]
    scores = [percent(entry.cell.score) + mark for entry, mark in zip(entries, marks, strict=True)]
    return scores + [points(entry.change) for entry in entries if entry.change is not None and not entry.own]


def test_each_task_is_the_heading_of_one_column(
    many_task_report: Callable[[int], RunReport], rendered: Rendered
) -> None:
    text = rendered(print_outcome, many_task_report(15), width=80)
    text = text[text.index("View current") : text.index("Earlier tasks")]
    headings = [line for line in text.splitlines() if line.startswith("after stage")]
    assert len(headings) > 1
    assert [name for line in headings for name in line.split()[2:]] == [f"task-{j}" for j in range(15)]
    assert re.findall(r"columns (\d+)–(\d+) of 15", text)[-1][1] == "15"


def test_capacity_table_of_many_tasks_truncates_no_number(
    many_task_report: Callable[[int], RunReport], rendered: Rendered
) -> None:
    text = rendered(print_capacity, many_task_report(15).run, width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("width", [80, 30])
def test_list_of_runs_wraps_long_names_and_truncates_none(
    recorder: Recorder, rendered: Rendered, width: int
) -> None:
    name = recorder.run("run-" + "n" * 70)
    text = rendered(print_runs, recorder.registry.run_summaries(), width=width)
    assert "…" not in text
    assert text.count("n") >= name.count("n")


def test_plain_table_of_many_rows_equals_the_table_that_rich_prints(rendered: Rendered) -> None:
    def print_table(table: Table, console: Console) -> None:
        console.print(table)

    def table(rows: int) -> Table:
        made = plain_table(["name", "longer heading", "n"], numbers=1)
        for i in range(rows):
            add_row(made, "日本" if i % 2 else "ab", "x" * (i % 7), str(i))
        return made

    few, many = table(MANY_ROWS - 1), table(MANY_ROWS)
    assert rendered(print_table, many).splitlines()[:-1] == rendered(print_table, few).splitlines()
