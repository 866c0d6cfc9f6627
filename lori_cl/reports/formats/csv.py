"""CSV in long form: one row per evaluated cell, so that any tool can pivot it.

The base model's row 0 stands under every view, and its `stage_task` is empty. Scores, standard errors
and changes are fractions; what is unknown is empty. A name that a spreadsheet would take for a formula has an
apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from lori_cl.errors import one_line
from lori_cl.reports.report import RunReport, ViewReport, number

COLUMNS = (
    *("run", "method", "seed", "view", "stage", "stage_task", "task", "metric"),
    *("score", "n", "stderr", "source", "change"),
)

FORMULA = tuple("=+-@＝＋－＠")
"""What a text begins with that a spreadsheet would work out."""


def render(reports: Sequence[RunReport]) -> bytes:
    """All cells of all runs and views."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for report in reports:
        for view in report.views:
            writer.writerows(_rows(report, view))
    return text.getvalue().encode()


def _rows(report: RunReport, view: ViewReport) -> Iterator[list[object]]:
    run = report.run
    for row in view.rows():
        for task, entry in zip(run.tasks, row.entries, strict=True):
            if entry is None:
                continue
            cell = entry.cell
            values = (
                *(run.name, run.method, run.seed, view.name, row.stage, row.task, task.label, task.metric),
                *(cell.score, cell.n, number(cell.stderr), cell.source, entry.change),
            )
            yield [_plain(value) for value in values]  # the writer leaves None empty


def _plain(value: object) -> object:
    """A value that is no formula and controls no terminal; a number may be negative."""
    if not isinstance(value, str):
        return value
    text = "\t".join(map(one_line, value.split("\t")))
    return f"'{text}" if value.lstrip().startswith(FORMULA) else text
