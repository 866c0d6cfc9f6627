"""The metrics of several runs side by side, for any format to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lori_cl.reports.report import RunReport, ViewReport
from lori_cl.reports.wording import metric_title, metric_value


@dataclass(frozen=True)
class MetricTable:
    """Metrics down, runs or views across."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """A metric's title, and one value a column."""


def metric_tables(reports: Sequence[RunReport]) -> list[MetricTable]:
    """One run: its views side by side. Several: one table a view, the runs side by side.

    What is missing everywhere has no row, and a table without rows is left out.
    """
    if len(reports) == 1:
        views = [(view.name, view) for view in reports[0].views]
        found = [_table(f"Metrics of {reports[0].run.name}", views)]
    else:
        names = dict.fromkeys(view.name for report in reports for view in report.views)
        found = [_table(f"Metrics, view {name}", _under(name, reports)) for name in names]
    return [table for table in found if table.rows]


def _under(name: str, reports: Sequence[RunReport]) -> list[tuple[str, ViewReport]]:
    """The runs that were scored under a view."""
    return [(report.run.name, view) for report in reports for view in report.views if view.name == name]


def _table(title: str, columns: Sequence[tuple[str, ViewReport]]) -> MetricTable:
    told = {metric.name for _, view in columns for metric in view.metrics if metric.value is not None}
    rows = zip(*(view.metrics for _, view in columns), strict=True)
    return MetricTable(
        title=title,
        columns=tuple(heading for heading, _ in columns),
        rows=tuple(
            (metric_title(row[0].name), tuple(map(metric_value, row))) for row in rows if row[0].name in told
        ),
    )
