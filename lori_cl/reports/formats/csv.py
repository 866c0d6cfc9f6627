"""CSV in long form: one row per evaluated cell, so that any tool can pivot it.

Every view has row 0, the base model, with an empty `stage_task`. Scores, standard errors and changes are
fractions; unknown values are empty. A name that a spreadsheet would evaluate as a formula is prefixed with an
apostrophe.
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
"""First characters of a text that a spreadsheet would evaluate as a formula."""


def render(reports: Sequence[RunReport]) -> bytes:
    """Render all cells of all runs and views."""
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
            yield [_plain(value) for value in values]  # the writer writes None as an empty field


def _plain(value: object) -> object:
    """Escape formulas and control characters in text. Numbers stay as they are; they may be negative."""
    if not isinstance(value, str):
        return value
    text = "\t".join(map(one_line, value.split("\t")))
    return f"'{text}" if value.lstrip().startswith(FORMULA) else text
