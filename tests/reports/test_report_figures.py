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


def test_png_is_a_picture_of_readable_size_and_a_second_run_gets_panels_of_its_own(worked: RunReport) -> None:
    one, two = FORMATS["png"]([worked]), FORMATS["png"]([worked, worked])
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    assert min(size_of(one)) > 400
    assert size_of(two)[1] > 1.5 * size_of(one)[1]


def test_svg_holds_every_score_and_no_date(worked: RunReport) -> None:
    picture = FORMATS["svg"]([worked]).decode()
    ET.fromstring(picture)
    # Matplotlib draws glyphs and leaves the text as a comment.
    for shown in ("70.0", "+15.0", "acc 75.0    bwt +12.5    forgetting −2.5", "first, view current"):
        assert f"<!-- {shown} -->" in picture
    assert "<dc:date>" not in picture


def test_a_dollar_sign_in_a_name_is_no_formula(recorder: Recorder) -> None:
    name = recorder.run(tasks=["$\\frac{$", "--><script>", "qqp"])
    picture = FORMATS["svg"]([gather(recorder.registry, name)])
    assert b"<script" not in picture
    ET.fromstring(picture)


@pytest.mark.parametrize("n", [5, 15, 100])
def test_a_picture_of_many_tasks_is_bounded_and_names_every_task(
    wide: Callable[[int], RunReport], n: int
) -> None:
    report = wide(n)
    width, height = size_of(FORMATS["png"]([report]))
    assert max(width, height) < 5_000
    assert width * height < 12_000_000
    picture = FORMATS["svg"]([report]).decode()
    assert len(picture) < 2_000_000
    for task in report.tasks:
        assert f"<!-- {task} -->" in picture
    assert ("<!-- 35.0 -->" in picture) == (n <= 30)


def test_many_runs_of_many_tasks_are_drawn_with_fewer_dots() -> None:
    width, height = 20.0, 600.0
    dpi = figures._dpi(width, height)
    assert width * height * dpi**2 <= figures.MOST_PIXELS * 1.001
    assert height * dpi <= figures.LONGEST_SIDE * 1.001
    assert figures._dpi(10, 10) == figures.DPI
