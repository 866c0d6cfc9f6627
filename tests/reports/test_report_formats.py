"""Tests of every report format, and tests specific to CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest

from lori_cl.reports import FORMATS, RunReport, gather

from .conftest import Recorder

FORMATS_WITHOUT_SVG = [kind for kind in FORMATS if kind != "svg"]
"""All formats but SVG, which is drawn by the same code as PNG."""
HOSTILE = "<script>alert('|')</script>"


def text_of(recorder: Recorder, kind: str, names: Sequence[str]) -> str:
    return FORMATS[kind]([gather(recorder.registry, name) for name in names]).decode()


def csv_rows(*reports: RunReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(FORMATS["csv"](reports).decode())))


def test_formats_are_the_documented_ones() -> None:
    assert list(FORMATS.built_in) == ["html", "md", "csv", "json", "png", "svg"]


@pytest.mark.parametrize("kind", FORMATS_WITHOUT_SVG)
@pytest.mark.parametrize("stages_done", [0, 1])
def test_an_unfinished_run_renders(recorder: Recorder, kind: str, stages_done: int) -> None:
    name = recorder.run(rows=((0.6, None, None),)[:stages_done])
    assert FORMATS[kind]([gather(recorder.registry, name)])


@pytest.mark.parametrize("kind", FORMATS_WITHOUT_SVG)
def test_a_run_without_any_score_renders(recorder: Recorder, kind: str) -> None:
    name = recorder.run(rows=[], base=(None, None, None))
    assert FORMATS[kind]([gather(recorder.registry, name)])


@pytest.mark.parametrize("kind", FORMATS_WITHOUT_SVG)
def test_runs_of_different_tasks_and_views_render_together(recorder: Recorder, kind: str) -> None:
    recorder.run("first")
    recorder.run("second", tasks=["qqp", "mnli"], rows=[], base=(0.5, 0.4), views=["current"])
    assert FORMATS[kind]([gather(recorder.registry, name) for name in ("first", "second")])


@pytest.mark.parametrize("kind", FORMATS)
def test_report_is_deterministic(worked_report: RunReport, kind: str) -> None:
    assert FORMATS[kind]([worked_report]) == FORMATS[kind]([worked_report])


@pytest.mark.parametrize("kind", ["html", "md"])
def test_report_of_two_runs_compares_them_in_one_table(recorder: Recorder, kind: str) -> None:
    text = text_of(recorder, kind, [recorder.run("apples"), recorder.run("pears", method="sequential-lora")])
    metrics, _, runs = text.partition("method lori")
    assert "apples" in metrics
    assert "pears" in metrics
    assert "overwrites the whole adapter" in runs


@pytest.mark.parametrize("kind", ["html", "md"])
def test_task_name_that_looks_like_a_script_is_escaped(recorder: Recorder, kind: str) -> None:
    name = recorder.run(tasks=[HOSTILE, "agnews", "qqp"], description=HOSTILE)
    text = text_of(recorder, kind, [name]).replace("\\<", "&lt;")
    assert "<script" not in text
    assert "&lt;script" in text


def test_csv_has_one_row_for_every_evaluated_cell(worked_report: RunReport) -> None:
    rows = csv_rows(worked_report)
    assert len([row for row in rows if row["view"] == "current"]) == 4 * 3
    assert len([row for row in rows if row["view"] == "as_trained"]) == 3 + 1 + 2 + 3


def test_csv_row_names_run_view_stage_and_task(worked_report: RunReport) -> None:
    rows = csv_rows(worked_report)
    found = [r for r in rows if (r["view"], r["stage"], r["task"]) == ("current", "3", "sst2")]
    assert len(found) == 1
    change = float(found[0].pop("change"))
    assert change == pytest.approx(0.1)
    assert found[0] == {
        **{"run": "first", "method": "lori", "seed": "7", "view": "current", "stage": "3"},
        **{"stage_task": "qqp", "task": "sst2", "metric": "accuracy", "score": "0.7"},
        **{"n": "20", "stderr": "0.1", "source": "measured"},
    }


def test_csv_begins_with_the_base_model(worked_report: RunReport) -> None:
    first = csv_rows(worked_report)[0]
    assert (first["stage"], first["stage_task"], first["score"], first["change"]) == ("0", "", "0.5", "")


def test_csv_contains_every_run(recorder: Recorder, worked_report: RunReport) -> None:
    rows = csv_rows(worked_report, gather(recorder.registry, recorder.run("second")))
    assert {row["run"] for row in rows} == {"first", "second"}


def test_markdown_contains_tables_that_github_renders(worked_report: RunReport) -> None:
    lines = FORMATS["md"]([worked_report]).decode().splitlines()
    assert "| after stage | sst2 | agnews | qqp | mean of learned |" in lines
    assert "| :-- | --: | --: | --: | --: |" in lines
    assert "| base | 50.0 | 25.0 | 5.0 |  |" in lines
    assert "| 3 qqp | 70.0 (+10.0) | 65.0 (+15.0) | 90.0 | 75.0 |" in lines


def test_markdown_escapes_a_pipe_in_a_name(recorder: Recorder) -> None:
    text = text_of(recorder, "md", [recorder.run(tasks=["a|b", "agnews", "qqp"])])
    assert "| after stage | a\\|b | agnews | qqp |" in text


def test_markdown_marks_cached_scores(worked_report: RunReport) -> None:
    assert "60.0 (0.0) =" in FORMATS["md"]([worked_report]).decode()
