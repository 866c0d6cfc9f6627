"""GitHub-flavored Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

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
    stage_name,
    stage_title,
)
from lori_cl.reports.report import Entry, Row, RunReport, ViewReport
from lori_cl.reports.tables import metric_tables

MAX_COLUMNS = 16
"""Columns of one table, without the first; wider tables are split into blocks."""


def render(reports: Sequence[RunReport]) -> bytes:
    """Render the metrics of all runs, the matrices of each run, and how to read them."""
    lines = ["# " + ", ".join(_plain(report.run.name) for report in reports), ""]
    for table in metric_tables(reports):
        lines += [f"## {_plain(table.title)}", ""]
        lines += _table(["metric", *table.columns], ([title, *values] for title, values in table.rows))
    for report in reports:
        lines += _run(report)
    lines += ["## How to read this", "", *(f"- {_plain(note)}" for note in notes(reports))]
    return ("\n".join(lines) + "\n").encode()


def _run(report: RunReport) -> Iterator[str]:
    yield from (f"## Run {_plain(report.run.name)}", "", _plain(run_title(report.run)), "")
    for view in report.views:
        yield from (f"### View {view.name}", "")
        yield from matrix_lines(view)
        yield from _list(part_lines(view))
        if view.changes:
            yield from (f"{CHANGES}:", "", *_list([change_line(change) for change in view.changes]))
    if report.general:
        yield from (f"### {GENERAL}", "")
        titles = ["after stage", *(each.task for each in report.general)]
        examples = ["examples", *("–" if each.n is None else f"{each.n:,}" for each in report.general)]
        yield from _blocks(titles, [*([name, *row] for name, row in general_rows(report)), examples])
        if changes := general_changes(report):
            yield from (f"{GENERAL_CHANGES}:", "", *_list(changes))
    yield from _list(missing_metrics(report.views))
    yield from _list([f"Warning: {warning}" for warning in report.warnings])
    yield from ("### Capacity", "", _plain(capacity_line(report.run, report.capacity)), "")
    yield from ("### Lineage", "", *lineage_lines(report.run))


def matrix_lines(view: ViewReport) -> Iterator[str]:
    """Yield the lines of a view's matrix, as tables."""
    rows = ([stage_name(row.stage, row.task), *map(_entry, row.entries), _mean(row)] for row in view.rows())
    examples = ["examples", *("–" if n is None else f"{n:,}" for n in view.n)]
    examples_rows = [[*examples, ""]]
    if view.repeats:
        examples_rows.append(["distinct", *("–" if n is None else f"{n:,}" for n in view.distinct), ""])
    cut = [["cut", *(f"{n:,}" for n in view.truncated), ""]] if any(view.truncated) else []
    titles = ["after stage", *view.matrix.tasks, "mean of learned"]
    yield from _blocks(titles, [*rows, *examples_rows, *cut])


def _mean(row: Row) -> str:
    return "" if row.overall is None else percent(row.overall)


def _entry(entry: Entry | None) -> str:
    if entry is None:
        return ""
    mark = f" {entry.mark}" if entry.mark else ""
    change = "" if entry.change is None or entry.own else f" ({points(entry.change)})"
    return f"{percent(entry.cell.score)}{change}{mark}"


def lineage_lines(run: Run) -> Iterator[str]:
    """Yield the lines on the base model, the environment and each stage."""
    yield from _list(
        [
            f"base model {run.base_path}, revision {run.base_revision or 'none'}, digest {run.base_digest}",
            f"projection {describe_projection(run)}",
            *(f"{key} {value}" for key, value in run.environment.items()),
            *changed_environments(run),
        ]
    )
    titles = ["stage", "artifact", "mask", "A", "training data", "examples (truncated)"]
    titles += ["training time", "stage time", "peak memory", "seeds"]
    yield from _table(titles, map(_stage, run.stages))


def _stage(stage: Stage) -> list[str]:
    return [
        stage_title(stage),
        stage.artifact,
        stage.mask.digest if stage.mask else "–",
        (stage.mask.projection if stage.mask else None) or "–",
        stage.train_digest,
        f"{stage.n_train:,} ({stage.n_truncated:,})",
        seconds(stage.train_s),
        seconds(stage.elapsed_s),
        megabytes(stage.peak_memory_bytes),
        ", ".join(f"{purpose} {seed}" for purpose, seed in stage.seeds.items()),
    ]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Render a table, first column left-aligned, numbers right-aligned, followed by an empty line."""
    alignment = [":--", *["--:"] * (len(titles) - 1)]
    lines = [list(map(_plain, titles)), alignment, *(list(map(_plain, row)) for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _blocks(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Render tables of at most MAX_COLUMNS columns, each starting with the first column."""
    rows, last = list(rows), len(titles) - 1
    for begin in range(1, len(titles), MAX_COLUMNS):
        end = min(begin + MAX_COLUMNS, len(titles))
        if last > MAX_COLUMNS:
            yield from (f"Columns {begin} to {end - 1} of {last}:", "")
        parts = ([row[0], *row[begin:end]] for row in rows)
        yield from _table([titles[0], *titles[begin:end]], parts)


def _list(items: Sequence[str]) -> list[str]:
    return [*(f"- {_plain(item)}" for item in items), ""] if items else []


def _plain(text: str) -> str:
    """Escape Markdown and HTML: the text may contain an untrusted task name."""
    escaped = re.sub(r"([\\`*\[\]|$~]|^[#>]|[<&](?=\S))", r"\\\1", " ".join(text.split()))
    return one_line(escaped)
