"""What a notebook shows: names from data and specs are escaped."""

from __future__ import annotations

import re

import pytest

import lori_cl as cl
from lori_cl.forgetting import Cell, ForgettingMatrix, Metric
from tests.reports.conftest import Recorder

HOSTILE = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>"
TAGS = re.compile(r"<\s*(script|img)", re.IGNORECASE)


def assert_escaped(html: str) -> None:
    assert "&lt;script&gt;" in html
    assert not TAGS.search(html)


def matrix() -> cl.Matrix:
    cells = {(0, 0): Cell(0.25, 8), (1, 0): Cell(0.75, 8)}
    return cl.Matrix(ForgettingMatrix.from_cells([HOSTILE], HOSTILE, 1, cells))


def test_a_matrix_escapes_tasks_and_view() -> None:
    html = matrix()._repr_html_()
    assert_escaped(html)
    assert html.count("&lt;script&gt;") == 3  # the view, the column and the row


def test_metrics_escape_names_of_plugins() -> None:
    assert_escaped(cl.Metrics([Metric(HOSTILE, 0.5, None)])._repr_html_())


@pytest.fixture
def run(ws: cl.Workspace) -> cl.Run:
    """A run in a registry that somebody else wrote: our own commands refuse such names."""
    with ws.storage.open() as registry:
        rows = ((0.5, None), (0.5, 0.5))
        name = Recorder(registry).run(HOSTILE, ("sst2", HOSTILE), rows, (0.5, 0.5))
    return ws.get_run(name)


def test_a_run_and_the_table_of_runs_escape_the_runs_name(ws: cl.Workspace, run: cl.Run) -> None:
    for html in (run._repr_html_(), ws.runs()._repr_html_(), ws.compare(run.name)._repr_html_()):
        assert_escaped(html)
