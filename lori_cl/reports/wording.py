"""How numbers are written and what words go with them, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lori_cl.forgetting import METRICS, Cell, Metric
from lori_cl.registry import Run, Stage
from lori_cl.reports.capacity import Capacity
from lori_cl.reports.report import Change, RunReport, ViewReport
from lori_cl.reports.routing import ROUTED, ROUTING_ACCURACY

TITLES = {entry.name: entry.title.partition(",")[0] for entry in METRICS}
"""Without what the notes say at length, such as the baseline of fwt."""
DIFFERENCES = frozenset({"bwt", "fwt", "forgetting", "single_task_gap"})
"""Metrics that are differences of scores, so they are shown in points with their sign."""
VIEWS = {
    "as_trained": "each task is scored with the adapter as it stood when that task's own stage ended, "
    "which a model can only run if it is told which task an input belongs to.",
    "current": "each task is scored with everything learned so far, "
    "which is what a model without a task id runs.",
    "routed": "each example's task is guessed from what the base model makes of it, and the guessed task "
    "answers with its as_trained adapter and its head; routing accuracy says how often the guess is right.",
}
PROVED = (
    "= marks a proved score: everything it depends on has the digest of an earlier measured score, "
    "so it was taken over from there."
)
CHANGES = (
    "Earlier tasks after the last stage against their own stage "
    "(paired test of the answers to the same examples; p is not corrected for several tasks)"
)
TESTS = {"mcnemar_exact": "McNemar", "paired_bootstrap": "paired bootstrap"}
OVERWRITES = (
    "Every stage overwrites the whole adapter: no cells are set apart for a task, so the as_trained view "
    "means keeping one whole copy of the adapter for each task."
)


def percent(fraction: float) -> str:
    """'78.1' of 0.7812."""
    return f"{100 * fraction:.1f}".replace("-", "−")


def points(difference: float) -> str:
    """'−12.3' of −0.123: a difference of two percentages."""
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"  # a −0.0 would look like a loss


def metric_value(metric: Metric) -> str:
    """'75.0', '+12.5', or '–' where it is missing."""
    if metric.value is None:
        return "–"
    return points(metric.value) if metric.name in DIFFERENCES else percent(metric.value)


def metric_title(name: str) -> str:
    """'Backward transfer (bwt), points', or 'Learning accuracy, %' where that is the name already."""
    title, unit = TITLES[name], "points" if name in DIFFERENCES else "%"
    return f"{title}, {unit}" if title.lower().replace(" ", "_") == name else f"{title} ({name}), {unit}"


def missing_metrics(views: Sequence[ViewReport]) -> list[str]:
    """Why metrics are missing and how to get them, one line a reason; a view is named where others differ."""
    of: dict[str, list[str]] = {}
    for view in views:
        for line in _missing(view):
            of.setdefault(line, []).append(view.name)
    everywhere = len(views)
    return [
        line if len(names) == everywhere else f"view {', '.join(names)}: {line}" for line, names in of.items()
    ]


def _missing(view: ViewReport) -> list[str]:
    names: dict[str, list[str]] = {}
    for metric in view.told:
        if metric.missing:
            names.setdefault(metric.missing + _remedy(view, metric), []).append(TITLES[metric.name].lower())
    return [f"{', '.join(of)} missing: {reason}" for reason, of in names.items()]


def _remedy(view: ViewReport, metric: Metric) -> str:
    """The scores that fwt takes are left out of a run unless they are asked for."""
    asked = metric.name != "fwt" or view.matrix.stages < 2 or view.name == ROUTED
    return "" if asked else "; lori-cl run --upper-triangle scores tasks before they are learned"


def part_lines(view: ViewReport) -> list[str]:
    """'humaneval: pass@1 12.3, pass@5 24.0', one line a task whose metric has parts."""
    return [
        f"{task}: " + ", ".join(f"{name.replace('_', ' ')} {percent(value)}" for name, value in parts.items())
        for task, parts in zip(view.matrix.tasks, view.parts, strict=True)
        if len(parts) > 1 or ROUTING_ACCURACY in parts  # a single part of another name is the score itself
    ]


def cell_title(cell: Cell) -> str:
    """'78.1 % ± 1.3 (standard error), 1,000 examples, measured'."""
    error = "" if math.isnan(cell.stderr) else f" ± {percent(cell.stderr)} (standard error)"
    return f"{percent(cell.score)} %{error}, {cell.n:,} examples, {cell.source}"


def change_line(change: Change) -> str:
    """'sst2 −12.3 points (McNemar p < 0.001)'."""
    return f"{change.task} {points(change.score)} points ({_evidence(change)})"


def _evidence(change: Change) -> str:
    if change.test is None:
        return "scored on different examples, so there is no test"
    if change.test.p_value is None:
        return "too few examples for a test"
    p = change.test.p_value
    return f"{TESTS[change.test.name]} p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def capacity_line(capacity: Capacity | None) -> str:
    """What is claimed and what is left, in one sentence."""
    if capacity is None:
        return OVERWRITES
    free = f"{capacity.free:,} of {capacity.cells:,} cells are free ({share(capacity.free, capacity.cells)})"
    if capacity.retired:
        free += f", as {listed(capacity.retired)} {'is' if len(capacity.retired) == 1 else 'are'} retired"
    if capacity.cells_per_task == 0:
        return f"{free}; every planned task has its cells."
    return f"{free}; {_more_tasks(capacity)}{_inputs(capacity)}."


def _more_tasks(capacity: Capacity) -> str:
    """'7 more tasks of density 0.1 fit (5 cells each)', or that cells never run out."""
    of = f"of density {capacity.density:g}"
    if capacity.more_tasks is None:
        return f"tasks {of} may own the same ones, so they never run out"
    more = f"{capacity.more_tasks:,} more {'task' if capacity.more_tasks == 1 else 'tasks'} {of}"
    fit = "fits" if capacity.more_tasks == 1 else "fit"
    grows = f"; then {capacity.grow} rows at a time are added" if capacity.grow else ""
    return f"{more} {fit} ({capacity.cells_per_task:,} cells each){grows}"


def _inputs(capacity: Capacity) -> str:
    """What input directions have to do with how many tasks fit; nothing where A's are drawn freely."""
    if capacity.scarcest is None:
        return ""
    site, left = capacity.scarcest
    if capacity.more_by_inputs is not None:
        return f"; each needs {capacity.needs_inputs:,} free input directions, and {site} has {left:,}"
    needs = f"each needs {capacity.needs_inputs:,} free ones, and {site} has {left:,}"
    return f", as far as input directions last: {needs}"


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', or 'a, b and c'."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def share(part: int, whole: int) -> str:
    """'10.0 %'."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def stage_name(stage: int, task: str | None) -> str:
    """'base', or '2 agnews'."""
    return "base" if task is None else f"{stage} {task}"


def short(digest: str | None) -> str:
    """A digest's first 8 digits, enough to tell the few of one run apart."""
    return digest[:8] if digest else "–"


def projection_words(run: Run) -> str:
    """'shared, uniform, rank 32, seed 5, digest …'; where tasks have A's of their own, each has a digest."""
    if run.projection is None:
        return "none"
    found = run.projection
    grown = f" (grown to {run.rank})" if run.rank != found.rank else ""
    digest = f"digest {found.digest}" if found.digest else "a digest for each stage"
    return f"{found.kind}, {found.distribution}, rank {found.rank}{grown}, seed {found.seed}, {digest}"


def stage_words(stage: Stage) -> str:
    """'2 agnews', and whether its task was retired."""
    retired = "" if stage.retired_after is None else f" (retired after stage {stage.retired_after})"
    return f"{stage_name(stage.position, stage.task)}{retired}"


def source_words(source: Mapping[str, Any], *, exactly: bool = False) -> str:
    """'local qqp or hub nyu-mll/glue'; exactly, the hub's with ', config qqp, revision 3f1c…'."""
    told = [f"{place} {source[place]}" for place in ("local", "hub") if source.get(place)]
    more = [f", {field} {source[field]}" for field in ("config", "revision") if source.get(field)]
    return " or ".join(told) + "".join(more if exactly and source.get("hub") else [])


def minute(time: datetime) -> str:
    """'2026-01-31 09:05'."""
    return time.strftime("%Y-%m-%d %H:%M")


def seconds(value: float) -> str:
    """'312 s', or '0.4 s'."""
    return f"{value:,.1f} s" if value < 10 else f"{value:,.0f} s"


def megabytes(value: int) -> str:
    """'1,024 MB'."""
    return f"{value / 1e6:,.0f} MB"


def run_title(run: Run) -> str:
    """'method lori, seed 0, done, curriculum five-tasks'."""
    return f"method {run.method}, seed {run.seed}, {run.status}"


def notes(reports: Sequence[RunReport]) -> list[str]:
    """How to read the report: only what bears on these runs."""
    views = dict.fromkeys(view.name for report in reports for view in report.views)
    told = [f"{view}: {VIEWS[view]}" for view in views if view in VIEWS]
    tasks = [task for report in reports for task in report.run.tasks]
    if any(task.kind == "classification" and not task.spec.get("prompt") for task in tasks):
        told.append(
            "A classification head always belongs to its task: as_trained and current differ in the "
            "adapter's cells alone."
        )
    told += [
        "Row 0: the base model, zero-shot (for a classification task: the label whose words are nearest, "
        "or likeliest after its prompt); it is the baseline of fwt.",
        "Scores are percent; beside a score, in points, stands its change since the task was learned.",
        PROVED,
    ]
    if any(any(view.truncated) for report in reports for view in report.views):
        told.append("cut: examples that were too long to be read whole; train.max_length says how long.")
    return told
