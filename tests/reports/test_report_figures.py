from __future__ import annotations

import struct
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from lori_cl.reports import FORMATS, RunReport, gather
from lori_cl.reports.formats import figures

from .conftest import Recorder


def size_of(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_png_has_a_readable_size_and_separate_panels_for_each_run(worked_report: RunReport) -> None:
    one, two = FORMATS["png"]([worked_report]), FORMATS["png"]([worked_report, worked_report])
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    assert min(size_of(one)) > 400
    assert size_of(two)[1] > 1.5 * size_of(one)[1]


def test_svg_contains_every_score_and_no_date(worked_report: RunReport) -> None:
    svg = FORMATS["svg"]([worked_report]).decode()
    ET.fromstring(svg)
    # Matplotlib draws glyphs and leaves the text as a comment.
    for rendered in ("70.0", "+15.0", "acc 75.0    bwt +12.5    forgetting −2.5", "first, view current"):
        assert f"<!-- {rendered} -->" in svg
    assert "<dc:date>" not in svg


def test_dollar_sign_in_a_name_is_not_parsed_as_a_formula(recorder: Recorder) -> None:
    name = recorder.run(tasks=["$\\frac{$", "--><script>", "qqp"])
    svg = FORMATS["svg"]([gather(recorder.registry, name)])
    assert b"<script" not in svg
    ET.fromstring(svg)


@pytest.mark.parametrize("n", [5, 40, pytest.param(100, marks=pytest.mark.nightly)])
def test_figure_of_many_tasks_has_a_bounded_size_and_names_every_task(
    many_task_report: Callable[[int], RunReport], n: int
) -> None:
    report = many_task_report(n)
    width, height = size_of(FORMATS["png"]([report]))
    assert max(width, height) < 5_000
    assert width * height < 12_000_000
    svg = FORMATS["svg"]([report]).decode()
    assert len(svg) < 2_000_000
    for task in report.tasks:
        assert f"<!-- {task} -->" in svg
    assert ("<!-- 35.0 -->" in svg) == (n <= 30)


def test_very_large_figure_is_drawn_at_a_lower_resolution() -> None:
    width, height = 20.0, 600.0
    dpi = figures._dpi(width, height)
    assert width * height * dpi**2 <= figures.MAX_PIXELS * 1.001
    assert height * dpi <= figures.LONGEST_SIDE * 1.001
    assert figures._dpi(10, 10) == figures.DPI
