from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lori_cl.reports import FORMATS, RunReport, gather

from .conftest import Recorder

VOID = {"meta", "br", "link", "img", "hr", "input"}


@pytest.fixture
def page(worked_report: RunReport, recorder: Recorder) -> str:
    second = gather(recorder.registry, recorder.run("second", method="sequential-lora"))
    return FORMATS["html"]([worked_report, second]).decode()


def test_page_has_no_external_references(page: str) -> None:
    for reference in ("http:", "https:", "src=", "href=", "@import", "url(", "<script", "//"):
        assert reference not in page


def test_elements_are_properly_nested(page: str) -> None:
    class Checker(HTMLParser):
        """Track the open elements; a wrong closing tag fails immediately."""

        opened: list[str] = []  # noqa: RUF012 (one checker, one page)

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                self.opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.opened.pop() == tag

    checker = Checker()
    checker.feed(page)
    assert checker.opened == []


def test_page_has_a_dark_colour_scheme(page: str) -> None:
    assert "prefers-color-scheme: dark" in page


def test_lineage_is_collapsible_and_contains_full_digests(worked_report: RunReport, page: str) -> None:
    lineage = page[page.index("<summary>Lineage") :]
    assert worked_report.run.base_digest in lineage
    assert worked_report.run.stages[2].artifact in lineage
    assert worked_report.run.stages[2].train_digest in lineage


def test_cached_cell_says_so_in_its_tooltip(page: str) -> None:
    cell = re.search(r'<td style="[^"]*" title="([^"]*)">60\.0<span class="cached"> =</span>', page)
    assert cell
    assert cell[1] == "60.0 % ± 10.0 (standard error), 20 examples, cached"


def test_missing_cell_is_empty_and_its_tooltip_says_why(page: str) -> None:
    assert '<td class="none" title="not evaluated"></td>' in page


def test_page_explains_views_heads_and_row_0(page: str) -> None:
    assert "which needs no task id at inference time" in page
    assert "A classification head always belongs to its task" in page
    assert "the base model, zero-shot" in page
