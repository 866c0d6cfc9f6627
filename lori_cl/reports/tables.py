"""Tables that compare the metrics of several runs, for any format to render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lori_cl.reports.phrases import metric_title, metric_value
from lori_cl.reports.report import RunReport, ViewReport


@dataclass(frozen=True)
class MetricTable:
    """One row per metric, one column per run or view."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """The metric's title, and one value per column."""


def metric_tables(reports: Sequence[RunReport]) -> list[MetricTable]:
    """Return one table that compares the views of one run, or one table per view that compares several runs.

    A metric that is missing everywhere has no row. A table without rows is omitted.
    """
    if len(reports) == 1:
        views = [(view.name, view) for view in reports[0].views]
        tables = [_table(f"Metrics of {reports[0].run.name}", views)]
    else:
        names = dict.fromkeys(view.name for report in reports for view in report.views)
        tables = [_table(f"Metrics, view {name}", _views_named(name, reports)) for name in names]
    return [table for table in tables if table.rows]


def _views_named(name: str, reports: Sequence[RunReport]) -> list[tuple[str, ViewReport]]:
    """Return the runs that were scored under a view, with that view."""
    return [(report.run.name, view) for report in reports for view in report.views if view.name == name]


def _table(title: str, columns: Sequence[tuple[str, ViewReport]]) -> MetricTable:
    known = {metric.name for _, view in columns for metric in view.metrics if metric.value is not None}
    rows = zip(*(view.metrics for _, view in columns), strict=True)
    return MetricTable(
        title=title,
        columns=tuple(heading for heading, _ in columns),
        rows=tuple(
            (metric_title(row[0].name), tuple(map(metric_value, row))) for row in rows if row[0].name in known
        ),
    )
