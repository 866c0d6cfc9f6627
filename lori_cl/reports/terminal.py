"""Print reports in the terminal. Every number is readable without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from lori_cl.errors import one_line
from lori_cl.registry import Run, Stage
from lori_cl.reports.lineage import changed_environments
from lori_cl.reports.phrases import (
    CHANGES,
    GENERAL,
    GENERAL_CHANGES,
    capacity_line,
    change_line,
    describe_projection,
    general_changes,
    general_rows,
    megabytes,
    missing_metrics,
    notes,
    part_lines,
    percent,
    points,
    run_title,
    seconds,
    short,
    stage_name,
    stage_title,
)
from lori_cl.reports.plain_tables import add_row, plain_table, print_line
from lori_cl.reports.report import Entry, RunReport, ViewReport
from lori_cl.reports.tables import MetricTable, metric_tables

HEAT = (
    (-0.099, "bold white on red"),
    (-0.049, "bold red"),
    (-0.0005, "red"),
    (0.0005, ""),
    (0.049, "cyan"),
)
"""Style of a change below each bound. Colour-blind readers can distinguish red and cyan."""
GAIN = "bold cyan"


def print_report(reports: Sequence[RunReport], console: Console) -> None:
    """Print the metrics of all runs, the matrices of each run, and how to read them."""
    for table in metric_tables(reports):
        print_line(console, table.title, "bold")
        console.print(_metrics(table))
        console.print()
    for report in reports:
        _print_run(report, console)
    for note in notes(reports):
        print_line(console, note, "dim")


def print_outcome(report: RunReport, console: Console) -> None:
    """Print the result of a run: its matrices, its capacity, and the command for the full report."""
    for view in report.views:
        _print_view(view, console)
    _print_general(report, console)
    _print_capacity(report, console)
    print_line(console, f"Metrics and lineage: lori-cl report {report.run.name}", "dim")


def _metrics(metrics: MetricTable) -> Table:
    table = plain_table(["", *metrics.columns], numbers=len(metrics.columns))
    for title, values in metrics.rows:
        add_row(table, title, *values)
    return table


def _print_run(report: RunReport, console: Console) -> None:
    title = Text.assemble((one_line(report.run.name), "bold"), one_line(f": {run_title(report.run)}"))
    console.print(Rule(title, align="left", style="dim"))
    console.print()
    for view in report.views:
        _print_view(view, console)
    _print_general(report, console)
    _print_capacity(report, console)
    console.print()
    _print_lineage(report.run, console)


def _print_view(view: ViewReport, console: Console) -> None:
    print_line(console, f"View {view.name}: score, and change since learned", "bold")
    console.print(_matrix(view))
    for line in part_lines(view):
        print_line(console, line)
    if view.changes:
        print_line(console, f"{CHANGES}:")
        for change in view.changes:
            print_line(console, f"  {change_line(change)}")
    console.print()


def _print_general(report: RunReport, console: Console) -> None:
    """Print the tasks that are scored and not trained, if there are some."""
    if not report.general:
        return
    print_line(console, GENERAL, "bold")
    table = plain_table(["after stage", *(each.task for each in report.general)], blocks=True)
    for name, entries in general_rows(report):
        add_row(table, name, *entries)
    table.add_section()
    add_row(table, "examples", *("" if a.n is None else f"{a.n:,}" for a in report.general), style="dim")
    console.print(table)
    if lines := general_changes(report):
        print_line(console, f"{GENERAL_CHANGES}:")
        for line in lines:
            print_line(console, f"  {line}")
    console.print()


def _print_capacity(report: RunReport, console: Console) -> None:
    """Print missing metrics, the capacity and warnings."""
    for line in missing_metrics(report.views):
        print_line(console, line, "dim")
    print_line(console, f"Capacity: {capacity_line(report.run, report.capacity)}")
    for warning in report.warnings:
        print_line(console, f"Warning: {warning}")


def _matrix(view: ViewReport) -> Table:
    table = plain_table(["after stage", *view.matrix.tasks], blocks=True)
    for row in view.rows():
        name = stage_name(row.stage, row.task)
        add_row(table, name, *map(_entry, row.entries), style="dim" if row.task is None else "")
    table.add_section()
    add_row(table, "examples", *("" if n is None else f"{n:>5,}" for n in view.n), style="dim")
    if view.repeats:
        add_row(table, "distinct", *("" if n is None else f"{n:>5,}" for n in view.distinct), style="dim")
    if any(view.truncated):
        add_row(table, "cut", *(f"{n:>5,}" for n in view.truncated), style="dim")
    return table


def _entry(entry: Entry | None) -> Text:
    """Return ' 78.1= −12.3'. In a narrow column the change is on a second line."""
    if entry is None:
        return Text("    ·", "dim")
    mark = entry.mark
    score = Text(f"{percent(entry.cell.score):>5}{mark}", "bold" if entry.own else "")
    if entry.change is None or entry.own:
        return score
    change = points(entry.change)
    return score.append(" " * (7 - len(mark) - len(change))).append(change, _heat(entry.change))


def _heat(change: float) -> str:
    return next((style for bound, style in HEAT if change < bound), GAIN)


def _print_lineage(run: Run, console: Console) -> None:
    revision = f", revision {run.base_revision}" if run.base_revision else ""
    base = f"base model {run.base_path}{revision}, digest {short(run.base_digest)}"
    print_line(console, f"Lineage: {base}, seed {run.seed}")
    if run.projection is not None:
        print_line(console, f"Projection: {describe_projection(run)}")
    if run.stages:
        console.print(_stages(run.stages))
        console.print()
        console.print(_seeds(run.stages))
        console.print()
    print_line(console, ", ".join(f"{key} {value}" for key, value in run.environment.items()), "dim")
    for line in changed_environments(run):
        print_line(console, line, "dim")
    console.print()


def _stages(stages: Sequence[Stage]) -> Table:
    titles = ["stage", "artifact", "mask", "data", "examples", "cut", "training", "total", "peak"]
    table = plain_table(titles, numbers=5)
    for stage in stages:
        add_row(
            table,
            stage_title(stage),
            short(stage.artifact),
            short(stage.mask.digest if stage.mask else None),
            short(stage.train_digest),
            f"{stage.n_train:,}",
            f"{stage.n_truncated:,}",
            seconds(stage.train_s),
            seconds(stage.elapsed_s),
            megabytes(stage.peak_memory_bytes),
        )
    return table


def _seeds(stages: Sequence[Stage]) -> Table:
    purposes = list(dict.fromkeys(purpose for stage in stages for purpose in stage.seeds))
    table = plain_table(["seeds", *purposes], numbers=len(purposes))
    for stage in stages:
        seeds = (str(stage.seeds.get(purpose, "")) for purpose in purposes)
        add_row(table, stage_name(stage.position, stage.task), *seeds)
    return table
