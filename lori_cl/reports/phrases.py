"""Number formats and texts that all report formats share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lori_cl.forgetting import METRICS, Cell, Metric, Spread
from lori_cl.registry import Run, Stage
from lori_cl.reports.capacity import Capacity
from lori_cl.reports.report import Change, GeneralAbility, RunReport, ViewReport
from lori_cl.reports.routing import ROUTED, ROUTING_ACCURACY
from lori_cl.reports.seed_statistics import SeedGroup, seed_statistics

TITLES = {entry.name: entry.title.partition(",")[0] for entry in METRICS}
"""Metric titles without their details, such as the baseline of fwt, which the notes explain."""
DIFFERENCES = frozenset({"bwt", "fwt", "forgetting", "single_task_gap"})
"""Metrics that are differences of scores. They are shown in points with a sign."""
VIEWS = {
    "as_trained": "each task is scored with the adapter as it was at the end of that task's own stage, "
    "which needs a task id at inference time.",
    "current": "each task is scored with everything trained so far, "
    "which needs no task id at inference time.",
    "routed": "each example's task is predicted from the base model's hidden states, and the predicted task "
    "answers with its as_trained adapter and head; routing accuracy is the fraction of correct predictions.",
}
CACHED = (
    "= marks a cached score: its inputs have the same digest as those of an earlier measured score, "
    "which is reused."
)
SAMPLED = (
    "~ marks a score on a sample of the eval set (eval.sample), with the standard error of the sample. acc, "
    "bwt and learning_accuracy of a finished run contain no such score."
)
GENERAL = "General abilities: score in the view current, and change since the base model"
"""The title of the table of tasks that are scored and not trained."""
GENERAL_CHANGES = "Change from the base model to the last stage"
CHANGES = (
    "Earlier tasks: change from their own stage to the last stage "
    "(paired test of the answers to the same examples; p is not corrected for multiple tasks)"
)
SPREAD = (
    "± is a standard deviation (ddof = 1) over runs that differ only in their seed or task order: over the "
    "seeds of one order, and over the means of the orders. Unfinished runs are left out. p-values of paired "
    "comparisons are two-sided and not corrected for multiple metrics."
)
TESTS = {"mcnemar_exact": "McNemar", "paired_bootstrap": "paired bootstrap"}


def percent(fraction: float) -> str:
    """Return '78.1' for 0.7812."""
    return f"{100 * fraction:.1f}".replace("-", "−")


def points(difference: float) -> str:
    """Return '−12.3' for −0.123, a difference of two scores."""
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"  # a −0.0 would look like a loss


def metric_value(metric: Metric) -> str:
    """Return '75.0', '+12.5', or '–' if the value is missing."""
    if metric.value is None:
        return "–"
    return points(metric.value) if metric.name in DIFFERENCES else percent(metric.value)


def metric_title(name: str, unit: str | None = None) -> str:
    """Return 'Backward transfer (bwt), points', or 'Learning accuracy, %' if the title is the name."""
    title, unit = TITLES[name], unit or ("points" if name in DIFFERENCES else "%")
    return f"{title}, {unit}" if title.lower().replace(" ", "_") == name else f"{title} ({name}), {unit}"


def missing_metrics(views: Sequence[ViewReport]) -> list[str]:
    """Return why metrics are missing and how to get them, one line per reason.

    A line names its views unless it applies to all of them.
    """
    views_of: dict[str, list[str]] = {}
    for view in views:
        for line in _missing(view):
            views_of.setdefault(line, []).append(view.name)
    return [
        line if len(names) == len(views) else f"view {', '.join(names)}: {line}"
        for line, names in views_of.items()
    ]


def _missing(view: ViewReport) -> list[str]:
    names: dict[str, list[str]] = {}
    for metric in view.shown_metrics:
        if metric.missing:
            names.setdefault(metric.missing + _remedy(view, metric), []).append(TITLES[metric.name].lower())
    return [f"{', '.join(of)} missing: {reason}" for reason, of in names.items()]


def _remedy(view: ViewReport, metric: Metric) -> str:
    """Return how to get the scores for fwt, which a run computes only on request."""
    no_remedy = metric.name != "fwt" or view.matrix.stages < 2 or view.name == ROUTED
    return "" if no_remedy else "; lori-cl run --upper-triangle scores tasks before they are trained"


def part_lines(view: ViewReport) -> list[str]:
    """Return 'humaneval: pass@1 12.3, pass@5 24.0', one line per task whose metric has parts."""
    return [
        f"{task}: " + ", ".join(f"{name.replace('_', ' ')} {percent(value)}" for name, value in parts.items())
        for task, parts in zip(view.matrix.tasks, view.parts, strict=True)
        if len(parts) > 1 or ROUTING_ACCURACY in parts  # a single part of another name is the score itself
    ]


def cell_title(cell: Cell) -> str:
    """Return '78.1 % ± 1.3 (standard error), 1,000 examples, measured'."""
    error = "" if math.isnan(cell.stderr) else f" ± {percent(cell.stderr)} (standard error)"
    return f"{percent(cell.score)} %{error}, {cell.n:,} examples, {cell.source}"


def change_line(change: Change) -> str:
    """Return 'sst2 −12.3 points (McNemar p < 0.001)'."""
    return f"{change.task} {points(change.score)} points ({_evidence(change)})"


def general_rows(report: RunReport) -> list[tuple[str, list[str]]]:
    """Return (stage, one entry per task of `eval.also`): '54.1' or '53.2 (−0.9)', with = if cached."""
    stages = [stage_name(0, None), *(stage_name(s.position, s.task) for s in report.run.stages)]
    return [(name, [_general_entry(each, i) for each in report.general]) for i, name in enumerate(stages)]


def _general_entry(ability: GeneralAbility, stage: int) -> str:
    cell, change = ability.cells[stage], ability.change_at(stage)
    if cell is None:
        return "–"
    mark = "=" if cell.source == "cached" else ""
    return f"{percent(cell.score)}{mark}" + ("" if change is None else f" ({points(change)})")


def general_changes(report: RunReport) -> list[str]:
    """Return one line per task of `eval.also`: its change since the base model, with the paired test."""
    return [change_line(each.change) for each in report.general if each.change is not None]


def _evidence(change: Change) -> str:
    if change.test is None:
        return "no test: scored on different examples"
    if change.test.p_value is None:
        return "no test: too few examples"
    p = p_value(change.test.p_value)
    return f"{TESTS[change.test.name]} p {p if p.startswith('<') else f'= {p}'}"


def p_value(p: float | None) -> str:
    """Return '0.012', '< 0.001', or '–' if there is no test."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def metric_spread(name: str, found: Spread) -> str:
    """Return '75.0 ± 1.2', with '(seeds)' and '± 0.8 (orders)' if there are several task orders."""
    mean = metric_value(Metric(name, found.mean, None))
    if found.orders == 1:
        return mean if found.seed_std is None else f"{mean} ± {percent(found.seed_std)}"
    seeds = "" if found.seed_std is None else f" ± {percent(found.seed_std)} (seeds)"
    orders = "" if found.order_std is None else f" ± {percent(found.order_std)} (orders)"
    return f"{mean}{seeds}{orders}"


def capacity_line(run: Run, capacity: Capacity | None) -> str:
    """Return the free cells and the remaining capacity; for a method without cells, what it says about it."""
    if capacity is None:
        from lori_cl.spec.method_settings import capacity_text  # imports pydantic

        return capacity_text(run.method)
    free = f"{capacity.free:,} of {capacity.cells:,} cells are free ({share(capacity.free, capacity.cells)})"
    if capacity.retired:
        free += f", since {listed(capacity.retired)} {'is' if len(capacity.retired) == 1 else 'are'} retired"
    if capacity.cells_per_task == 0:
        return f"{free}; every planned task has its cells."
    return f"{free}; {_more_tasks(capacity)}{_inputs(capacity)}."


def _more_tasks(capacity: Capacity) -> str:
    """Return '7 more tasks of density 0.1 fit (5 cells each)', or that cells never run out."""
    of = f"of density {capacity.density:g}"
    if capacity.more_tasks is None:
        return f"tasks {of} may share cells, so cells never run out"
    more = f"{capacity.more_tasks:,} more {'task' if capacity.more_tasks == 1 else 'tasks'} {of}"
    fit = "fits" if capacity.more_tasks == 1 else "fit"
    grows = f"; after that, {capacity.grow} rows at a time are added" if capacity.grow else ""
    return f"{more} {fit} ({capacity.cells_per_task:,} cells each){grows}"


def _inputs(capacity: Capacity) -> str:
    """Return how input directions limit the number of tasks; empty if no directions are excluded."""
    if capacity.fewest_inputs_free is None:
        return ""
    site, free = capacity.fewest_inputs_free
    if capacity.more_tasks_by_inputs is not None:
        return f"; each needs {capacity.needs_inputs:,} free input directions, and {site} has {free:,}"
    needs = f"each needs {capacity.needs_inputs:,} free ones, and {site} has {free:,}"
    return f", if the input directions suffice: {needs}"


def listed(names: Sequence[str]) -> str:
    """Return 'a', 'a and b', or 'a, b and c'."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def share(part: int, whole: int) -> str:
    """Return '10.0 %'."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def stage_name(stage: int, task: str | None) -> str:
    """Return 'base' or '2 agnews'."""
    return "base" if task is None else f"{stage} {task}"


def short(digest: str | None) -> str:
    """Return the first 8 digits of a digest, enough to distinguish those of one run."""
    return digest[:8] if digest else "–"


def describe_projection(run: Run) -> str:
    """Return 'shared, uniform, rank 32, seed 5, digest …'; or one digest per stage if each task has an A."""
    if run.projection is None:
        return "none"
    projection = run.projection
    grown = f" (grown to {run.rank})" if run.rank != projection.rank else ""
    digest = f"digest {projection.digest}" if projection.digest else "one digest per stage"
    drawn = f"{projection.distribution}, rank {projection.rank}{grown}, seed {projection.seed}"
    return f"{projection.kind}, {drawn}, {digest}"


def stage_title(stage: Stage) -> str:
    """Return '2 agnews', with ' (retired after stage 3)' if the task is retired."""
    retired = "" if stage.retired_after is None else f" (retired after stage {stage.retired_after})"
    return f"{stage_name(stage.position, stage.task)}{retired}"


def describe_source(source: Mapping[str, Any], *, exactly: bool = False) -> str:
    """Return 'local qqp or hub nyu-mll/glue'; with `exactly`, ', config qqp, revision 3f1c…' of the hub."""
    places = [f"{place} {source[place]}" for place in ("local", "hub") if source.get(place)]
    details = [f", {field} {source[field]}" for field in ("config", "revision") if source.get(field)]
    return " or ".join(places) + "".join(details if exactly and source.get("hub") else [])


def minute(time: datetime) -> str:
    """Return '2026-01-31 09:05'."""
    return time.strftime("%Y-%m-%d %H:%M")


def seconds(value: float) -> str:
    """Return '312 s' or '0.4 s'."""
    return f"{value:,.1f} s" if value < 10 else f"{value:,.0f} s"


def megabytes(value: int) -> str:
    """Return '1,024 MB'."""
    return f"{value / 1e6:,.0f} MB"


def run_title(run: Run) -> str:
    """Return 'method lori, seed 0, done'."""
    return f"method {run.method}, seed {run.seed}, {run.status}"


def _members(group: SeedGroup) -> str:
    """Return 'mean of a (seed 0), b (seed 1)'."""
    runs = (f"{run} (seed {seed})" for run, seed in zip(group.runs, group.seeds, strict=True))
    return f"mean of {', '.join(runs)}"


def notes(reports: Sequence[RunReport]) -> list[str]:
    """Return the notes on how to read the report that apply to these runs."""
    views = dict.fromkeys(view.name for report in reports for view in report.views)
    lines = [f"{view}: {VIEWS[view]}" for view in views if view in VIEWS]
    tasks = [task for report in reports for task in report.run.tasks]
    if any(task.kind == "classification" and not task.spec.get("prompt") for task in tasks):
        lines.append(
            "A classification head always belongs to its task: as_trained and current differ only in the "
            "adapter's cells."
        )
    lines += [
        "Row 0: the base model, zero-shot (classification: the label whose words are nearest to the text, "
        "or the most likely label after the prompt); it is the baseline of fwt.",
        "Scores are in percent. Next to a score is its change, in points, since the task was trained.",
        CACHED,
    ]
    if any(view.has_samples for report in reports for view in report.views):
        lines.append(SAMPLED)
    groups = seed_statistics(reports).groups
    if groups:
        lines += [SPREAD, *(f"{group.name}: {_members(group)}" for group in groups)]
    if any(any(view.truncated) for report in reports for view in report.views):
        lines.append("cut: examples that were truncated to train.max_length.")
    return lines
