from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lori_cl.reports import FORMATS, RunReport, gather

from .conftest import Recorder

VOID = {"meta", "br", "link", "img", "hr", "input"}


@pytest.fixture
def page(worked: RunReport, recorder: Recorder) -> str:
    second = gather(recorder.registry, recorder.run("second", method="sequential-lora"))
    return FORMATS["html"]([worked, second]).decode()


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    for reference in ("http:", "https:", "src=", "href=", "@import", "url(", "<script", "//"):
        assert reference not in page


def test_every_element_is_closed_where_it_was_opened(page: str) -> None:
    class Checker(HTMLParser):
        """Keeps the open elements; a wrong closing tag fails at once."""

        opened: list[str] = []  # noqa: RUF012 (one checker, one page)

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                self.opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.opened.pop() == tag

    checker = Checker()
    checker.feed(page)
    assert checker.opened == []


def test_the_page_is_light_and_dark(page: str) -> None:
    assert "prefers-color-scheme: dark" in page


def test_lineage_can_be_folded_and_holds_whole_digests(worked: RunReport, page: str) -> None:
    lineage = page[page.index("<summary>Lineage") :]
    assert worked.run.base_digest in lineage
    assert worked.run.stages[2].artifact in lineage
    assert worked.run.stages[2].train_digest in lineage


def test_a_proved_cell_says_so_when_pointed_at(page: str) -> None:
    cell = re.search(r'<td style="[^"]*" title="([^"]*)">60\.0<span class="proved"> =</span>', page)
    assert cell
    assert cell[1] == "60.0 % ± 10.0 (standard error), 20 examples, proved"


def test_a_missing_cell_is_empty_and_says_why(page: str) -> None:
    assert '<td class="none" title="not evaluated"></td>' in page


def test_the_page_explains_views_heads_and_row_0(page: str) -> None:
    assert "what a model without a task id runs" in page
    assert "A classification head always belongs to its task" in page
    assert "the base model, zero-shot" in page
