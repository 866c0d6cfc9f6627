"""Statistics over runs of one curriculum that differ only in their seed or in the order of their tasks."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from lori_cl.forgetting import Comparison, Spread, compare, spread
from lori_cl.reports.gather import comparable
from lori_cl.reports.report import RunReport

Key = tuple[Hashable, int]
"""The order of the tasks, and the seed."""
Values = Mapping[str, Mapping[str, Mapping[Key, float]]]
"""By view, metric and run."""


@dataclass(frozen=True)
class SeedGroup:
    """Finished runs with the same base model, settings and set of tasks."""

    name: str
    """The method; with the name of the first run where several groups have the same method."""
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    """Of each run."""
    views: Mapping[str, Mapping[str, Spread]]
    """By view and metric; a metric is left out if one of the runs lacks it."""
    values: Values = field(default_factory=dict, repr=False)
    """What `views` summarises."""

    def to_record(self) -> dict[str, Any]:
        """Return the group as JSON values; `values` is left out."""
        views = {
            view: {metric: asdict(of_metric) for metric, of_metric in metrics.items()}
            for view, metrics in self.views.items()
        }
        return {"name": self.name, "runs": list(self.runs), "seeds": list(self.seeds), "views": views}


@dataclass(frozen=True)
class GroupComparison:
    """Paired comparison of two groups over the seeds and task orders that both have."""

    a: str
    b: str
    views: Mapping[str, Mapping[str, Comparison]]
    """By view and metric: a − b."""

    def to_record(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        views = {
            view: {metric: asdict(of_metric) for metric, of_metric in metrics.items()}
            for view, metrics in self.views.items()
        }
        return {"a": self.a, "b": self.b, "views": views}


@dataclass(frozen=True)
class SeedStatistics:
    """Groups of at least two runs, and the comparison of each two groups."""

    groups: tuple[SeedGroup, ...]
    comparisons: tuple[GroupComparison, ...]

    def of_run(self, name: str) -> dict[str, Any] | None:
        """Return a run's group and its comparisons as JSON values; None if it belongs to no group."""
        for group in self.groups:
            if name in group.runs:
                compared = [each.to_record() for each in self.comparisons if group.name in (each.a, each.b)]
                return {**group.to_record(), "comparisons": compared}
        return None


def seed_statistics(reports: Sequence[RunReport]) -> SeedStatistics:
    """Group the finished runs, and compare the groups.

    Two runs of one group with the same seed and task order count once: the first is used.
    """
    grouped: list[tuple[dict[str, Any], dict[Key, RunReport]]] = []
    for report in reports:
        if report.run.status != "done":
            continue
        settings = _settings(report)
        members = next((found for known, found in grouped if known == settings), None)
        if members is None:
            members = {}
            grouped.append((settings, members))
        members.setdefault(_key(report), report)
    several = [(settings, members) for settings, members in grouped if len(members) > 1]
    methods = [settings["method"] for settings, _ in several]
    groups = [_group(members, methods.count(settings["method"]) > 1) for settings, members in several]
    return SeedStatistics(
        groups=tuple(groups),
        comparisons=tuple(_comparisons([settings for settings, _ in several], groups)),
    )


def _key(report: RunReport) -> Key:
    return report.tasks, report.run.seed


def _settings(report: RunReport) -> dict[str, Any]:
    """Return all settings but the seed, and the tasks without their order."""
    settings = {key: value for key, value in comparable(report.run.curriculum).items() if key != "seed"}
    base = report.run.base_digest, report.run.curriculum["model"].get("dtype")
    return {**settings, "tasks": sorted(report.tasks), "base": base}


def _group(members: Mapping[Key, RunReport], has_namesake: bool) -> SeedGroup:
    runs = [report.run for report in members.values()]
    values = {view: _values(view, members) for view in _views(members)}
    return SeedGroup(
        name=f"{runs[0].method} ({runs[0].name}, …)" if has_namesake else runs[0].method,
        runs=tuple(run.name for run in runs),
        seeds=tuple(run.seed for run in runs),
        views={
            view: {metric: spread(of_metric) for metric, of_metric in metrics.items()}
            for view, metrics in values.items()
            if metrics
        },
        values=values,
    )


def _views(members: Mapping[Key, RunReport]) -> list[str]:
    return list(dict.fromkeys(view.name for report in members.values() for view in report.views))


def _values(view: str, members: Mapping[Key, RunReport]) -> dict[str, dict[Key, float]]:
    """Return, by metric, the value of every run; a metric that one of the runs lacks is left out."""
    found: dict[str, dict[Key, float]] = {}
    for key, report in members.items():
        for metric in (m for each in report.views if each.name == view for m in each.metrics):
            if metric.value is not None:
                found.setdefault(metric.name, {})[key] = metric.value
    return {metric: values for metric, values in found.items() if len(values) == len(members)}


def _comparisons(
    settings: Sequence[Mapping[str, Any]], groups: Sequence[SeedGroup]
) -> Iterator[GroupComparison]:
    """Compare groups on the same tasks, base model and eval settings, over at least two common pairs."""
    same = ("tasks", "base", "eval")
    for i, j in combinations(range(len(groups)), 2):
        if any(settings[i][key] != settings[j][key] for key in same):
            continue
        a, b = groups[i], groups[j]
        views = {view: _compare(a.values[view], b.values[view]) for view in a.values if view in b.values}
        if any(views.values()):
            yield GroupComparison(a.name, b.name, {view: found for view, found in views.items() if found})


def _compare(
    a: Mapping[str, Mapping[Key, float]], b: Mapping[str, Mapping[Key, float]]
) -> dict[str, Comparison]:
    found = {}
    for metric in (name for name in a if name in b):
        common = [key for key in a[metric] if key in b[metric]]
        if len(common) > 1:
            pairs = [a[metric][key] for key in common], [b[metric][key] for key in common]
            found[metric] = compare(*pairs)
    return found
