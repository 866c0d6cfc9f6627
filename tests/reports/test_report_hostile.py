"""Hostile names are plain text in the HTML page, the terminal, the tables and the figures."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lori_cl.errors import one_line
from lori_cl.registry import Run
from lori_cl.reports import (
    FORMATS,
    RunReport,
    gather,
    print_capacity,
    print_report,
    print_run,
    print_runs,
    print_task,
    print_tasks,
)
from lori_cl.reports.formats import html

from .conftest import Recorder, Rendered

OWN = "document.title='owned'"
ATTACKS = (
    f"<script>{OWN}</script>",
    f'"><img src=x onerror="{OWN}">',
    f"' onmouseover='{OWN}' style='position:fixed;inset:0",
    f"</style></title><svg onload={OWN}>",
    f"</td></tr></table><iframe srcdoc='<script>parent.{OWN}</script>'></iframe>",
    f'<a href="javascript:{OWN}">javascript:{OWN}</a>',
    f"--><!-- &lt;script&gt;{OWN}&#60;/script&#62;",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b]0;owned\x07\x1b[2J \u202egnp.exe \r\nowned",
)
PLAIN = tuple(f"name-{number}" for number in range(len(ATTACKS)))

MakeReport = Callable[[Sequence[str]], RunReport]


@pytest.fixture
def make_report(recorder: Recorder) -> MakeReport:
    """Return a function that makes a report in which every untrusted string is one of these texts."""

    def make(texts: Sequence[str]) -> RunReport:
        all_texts = " ".join(texts)
        scores = [[0.5] * len(texts)] * len(texts)
        report = gather(
            recorder.registry, recorder.run(all_texts, texts, scores, scores[0], description=all_texts)
        )
        return replace(report, run=_rewritten(report.run, texts))

    return make


def _rewritten(run: Run, texts: Sequence[str]) -> Run:
    first, second, third, *_ = texts
    assert run.projection is not None
    sites = dict.fromkeys(texts, (8, 4))
    return replace(
        run,
        method=first,
        base_path=second,
        base_revision=third,
        base_digest=first,
        projection=replace(run.projection, kind=first, distribution=second, sites=sites),
        environment=dict(zip(texts, texts, strict=True)),
        stages=tuple(
            replace(stage, artifact=text, train_digest=text, seeds={text: 1})
            for stage, text in zip(run.stages, texts, strict=True)
        ),
    )


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        missing = "this test opens the page in a real browser: apt-get install chromium"
        pytest.fail(missing) if "LORI_CL_CI" in os.environ else pytest.skip(missing)
    return found


class Page(HTMLParser):
    """A page as a browser parsed it: its elements with their attribute names, its title and its text."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.title, self.text, self._within = "", "", ""
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.elements[tag, *sorted(name for name, _ in attrs)] += 1

    def handle_data(self, data: str) -> None:
        if self._within == "title":
            self.title += data
        self.text += data

    def handle_endtag(self, _: str) -> None:
        self._within = ""


def open_page(chromium: str, folder: Path, page: bytes) -> Page:
    """Return the page after its scripts, timers and events have run."""
    file = folder / "report.html"
    file.write_bytes(page)
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000", "--dump-dom"),
            file.as_uri(),
        ],
        capture_output=True,
        check=True,
        timeout=300,
    )
    return Page(done.stdout.decode())


def test_names_create_no_html_elements_in_a_browser_and_are_all_shown(
    make_report: MakeReport, chromium: str, tmp_path: Path
) -> None:
    hostile = open_page(chromium, tmp_path, FORMATS["html"]([make_report(ATTACKS)]))
    harmless = open_page(chromium, tmp_path, FORMATS["html"]([make_report(PLAIN)]))
    assert hostile.elements == harmless.elements
    assert hostile.title == f"{one_line(' '.join(ATTACKS))} · lori_cl"
    for attack in ATTACKS:
        assert one_line(attack) in hostile.text


def test_browser_check_detects_a_page_without_escaping(
    make_report: MakeReport, chromium: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment_without_escaping() -> object:
        environment = original()
        environment.autoescape = False
        return environment

    original = html._environment
    monkeypatch.setattr(html, "_environment", environment_without_escaping)
    page = open_page(chromium, tmp_path, FORMATS["html"]([make_report(ATTACKS)]))
    assert page.title == "owned"


@pytest.mark.parametrize("kind", ["html", "md", "svg", "csv", "json"])
def test_report_contains_no_control_characters_from_names(make_report: MakeReport, kind: str) -> None:
    text = FORMATS[kind]([make_report(ATTACKS)]).decode()
    assert not {c for c in text if not c.isprintable()} - {"\n"}


def test_terminal_output_contains_no_control_characters_from_names(
    make_report: MakeReport, recorder: Recorder, rendered: Rendered
) -> None:
    report = make_report(ATTACKS)
    tasks = recorder.registry.tasks()
    for print_function, value in (
        (print_report, [report]),
        (print_capacity, report.run),
        (print_run, report.run),
        (print_runs, [report.run]),
        (print_tasks, tasks),
        (print_task, tasks[-1]),
    ):
        text = rendered(print_function, value, width=1000)
        assert not {c for c in text if not c.isprintable()} - {"\n"}
        assert "\\x1b]0;owned" in text


def test_svg_with_hostile_names_is_valid_xml_without_scripts(make_report: MakeReport) -> None:
    tree = ElementTree.fromstring(FORMATS["svg"]([make_report(ATTACKS)]))
    names = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert names <= {"svg", "g", "path", "defs", "use", "rect", "clipPath", "image", "pattern", "metadata",
                     "style", "title", "text", "RDF", "Work", "type", "format"}  # fmt: skip


@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_figure_truncates_very_long_names(recorder: Recorder) -> None:
    name = recorder.run("r" * 10_000, ["t" * 10_000, "agnews", "qqp"])
    assert len(FORMATS["png"]([gather(recorder.registry, name)])) < 10**6


def test_csv_escapes_names_that_a_spreadsheet_would_evaluate(recorder: Recorder) -> None:
    formulas = ["=1+1", "@SUM(A1)", "\t+1", "-2", "＝1", "agnews"]
    scores = [[0.5] * len(formulas)] * len(formulas)
    name = recorder.run("=cmd|' /C calc'!A0", formulas, scores, scores[0])
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"]([gather(recorder.registry, name)]).decode())))
    assert {row["run"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    assert {row["task"] for row in rows} == {*(f"'{formula}" for formula in formulas[:5]), "agnews"}


def test_negative_number_in_csv_is_not_escaped(recorder: Recorder) -> None:
    name = recorder.run(rows=((0.9, None, None), (0.4, 0.5, None)))
    text = FORMATS["csv"]([gather(recorder.registry, name)]).decode()
    assert "-0.5" in {row["change"] for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("kind", ["html", "md", "json"])
def test_lone_surrogate_is_escaped(worked_report: RunReport, kind: str) -> None:
    report = replace(worked_report, run=replace(worked_report.run, base_path="half \ud800"))
    text = FORMATS[kind]([report]).decode()
    assert "half \\ud800" in text
    if kind == "json":
        assert json.loads(text)["run"]["base"]["path"] == "half \ud800"
