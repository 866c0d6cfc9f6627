from __future__ import annotations

import struct
from xml.etree import ElementTree as ET

from lori_cl.reports import FORMATS, RunReport, gather

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
