"""Tables that compare the metrics of several runs, for any format to render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lori_cl.reports.phrases import metric_spread, metric_title, metric_value, p_value, points
from lori_cl.reports.report import RunReport, ViewReport
from lori_cl.reports.seed_statistics import GroupComparison, SeedGroup, seed_statistics


@dataclass(frozen=True)
class MetricTable:
    """One row per metric, one column per run, view or statistic."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """The metric's title, and one value per column."""


def metric_tables(reports: Sequence[RunReport]) -> list[MetricTable]:
    """Return one table that compares the views of one run, or one table per view that compares several runs.

    Runs that differ only in seed or task order are followed by their means, and by the comparison of each
    two methods. A metric that is missing everywhere has no row. A table without rows is omitted.
    """
    if len(reports) == 1:
        views = [(view.name, view) for view in reports[0].views]
        tables = [_table(f"Metrics of {reports[0].run.name}", views)]
    else:
        names = dict.fromkeys(view.name for report in reports for view in report.views)
        tables = [_table(f"Metrics, view {name}", _views_named(name, reports)) for name in names]
        statistics = seed_statistics(reports)
        tables += [_spreads(name, statistics.groups) for name in names]
        tables += [_compared(name, each) for each in statistics.comparisons for name in names]
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


def _spreads(view: str, groups: Sequence[SeedGroup]) -> MetricTable:
    """Return the mean and spread of each group; a metric that a group lacks is '–' there."""
    of_groups = [group.views.get(view, {}) for group in groups]
    metrics = dict.fromkeys(metric for found in of_groups for metric in found)
    return MetricTable(
        title=f"Mean ± standard deviation, view {view}",
        columns=tuple(f"{group.name}, {len(group.runs)} runs" for group in groups),
        rows=tuple(
            (
                metric_title(metric),
                tuple(
                    metric_spread(metric, found[metric]) if metric in found else "–" for found in of_groups
                ),
            )
            for metric in metrics
        ),
    )


def _compared(view: str, comparison: GroupComparison) -> MetricTable:
    """Return the differences of two groups, with the p-values of the paired tests."""
    return MetricTable(
        title=f"{comparison.a} − {comparison.b}, paired by seed and task order, view {view}",
        columns=("difference", "t-test p", "Wilcoxon p", "pairs"),
        rows=tuple(
            (
                metric_title(metric, "points"),
                (
                    points(found.difference),
                    p_value(found.t_p_value),
                    p_value(found.wilcoxon_p_value),
                    str(found.n),
                ),
            )
            for metric, found in comparison.views.get(view, {}).items()
        ),
    )
