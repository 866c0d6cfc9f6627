"""PNG and SVG: one picture with a heat map for each run and view, all on one colour scale."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lori_cl.errors import one_line
from lori_cl.reports.report import Entry, RunReport, ViewReport
from lori_cl.reports.wording import metric_value, percent, points, run_title, stage_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = "YlGnBu"  # from light to dark, so it is read alike with and without colour blindness
MISSING = "0.95"
HATCH = "0.75"
DARK_ABOVE = 0.68
"""Scores whose colour is so dark that white is easier to read on it than black."""
CELL_INCHES = (0.9, 0.52)
"""Width and height."""
MARGIN_INCHES = (1.3, 1.3)
"""What a panel needs beside and beneath its cells: names and metrics."""
LONG_NAME = 9
"""Characters that fit above one column."""
LONGEST_NAME = 40
"""Characters; a longer one would leave no room for its cells."""
SHOWN = ("acc", "bwt", "forgetting")
LEGEND = (
    "small: change since learned, in points     =: proved by digest, not measured again     "
    "hatched: not evaluated"
)


def png(reports: Sequence[RunReport]) -> bytes:
    """The picture in pixels."""
    return _drawn(reports, "png", {"Software": None})


def svg(reports: Sequence[RunReport]) -> bytes:
    """The picture in vectors."""
    return _drawn(reports, "svg", {"Date": None, "Creator": None})


def _drawn(reports: Sequence[RunReport], kind: str, metadata: dict[str, Any]) -> bytes:
    """The same bytes for the same reports: without a date, and with ids that are not drawn by chance."""
    file = io.BytesIO()
    with _style():
        _figure(reports).savefig(file, format=kind, dpi=150, metadata=metadata)
    return file.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl  # takes half a second to import, and only pictures need it

    # A task's name with a dollar sign is not a formula.
    with mpl.rc_context({"svg.hashsalt": "lori_cl", "text.parse_math": False, "font.size": 9}):
        yield


def _figure(reports: Sequence[RunReport]) -> Figure:
    """Runs downwards, views across."""
    from matplotlib.figure import Figure  # without pyplot: no window, no state that outlives the call

    across = max(len(report.views) for report in reports)
    widest = max(len(report.tasks) for report in reports)
    heights = [_inches(1, len(report.run.stages) + 1) for report in reports]
    size = (across * _inches(0, widest) + 1.2, sum(heights) + 0.9)
    figure = Figure(figsize=(max(size[0], 8), size[1]), layout="constrained")
    panels = figure.subplots(len(reports), across, squeeze=False, height_ratios=heights)
    for report, row in zip(reports, panels, strict=True):
        for axes in row[len(report.views) :]:
            axes.set_axis_off()
        for view, axes in zip(report.views, row, strict=False):
            image = _draw(report, view, axes)
    figure.colorbar(image, ax=panels, label="score, %", shrink=0.8, aspect=30, pad=0.015)
    figure.suptitle("Every task's score after every stage", fontsize=13, fontweight="bold")
    figure.supxlabel(LEGEND, fontsize=8, color="0.35")
    return figure


def _inches(axis: int, cells: int) -> float:
    return cells * CELL_INCHES[axis] + MARGIN_INCHES[axis]


def _draw(report: RunReport, view: ViewReport, axes: Axes) -> AxesImage:
    tasks, rows = [_shown(task) for task in view.matrix.tasks], view.rows()
    image = axes.imshow(100 * view.matrix.scores, cmap=COLOURS, vmin=0, vmax=100, aspect="auto")
    axes.set_title(f"{_shown(report.run.name)}, view {view.name}\n", fontsize=10, fontweight="bold")
    axes.text(0.5, 1.02, _shown(run_title(report.run)), transform=axes.transAxes, ha="center", color="0.35")
    axes.set_xticks(range(len(tasks)), tasks)
    if len(max(tasks, key=len)) > LONG_NAME:
        _slant(axes)
    axes.set_yticks(range(len(rows)), [_shown(stage_name(row.stage, row.task)) for row in rows])
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(_summary(view), labelpad=8)
    axes.set_xticks([j - 0.5 for j in range(1, len(tasks))], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    for row in rows:
        for j, entry in enumerate(row.entries):
            _write(axes, j, row.stage, entry)
    return image


def _shown(name: str) -> str:
    """A name in one line that leaves room for the picture."""
    name = one_line(name)
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _slant(axes: Axes) -> None:
    """Long names would run into one another."""
    for label in axes.get_xticklabels():
        label.set(rotation=25, horizontalalignment="right", rotation_mode="anchor")


def _write(axes: Axes, x: int, y: int, entry: Entry | None) -> None:
    from matplotlib.patches import Rectangle

    if entry is None:
        corner = (x - 0.5, y - 0.5)
        axes.add_patch(
            Rectangle(corner, 1, 1, facecolor=MISSING, edgecolor=HATCH, hatch="///", lw=0, zorder=0.5)
        )
        return
    ink = "white" if entry.cell.score > DARK_ABOVE else "black"
    beside = entry.change is not None and not entry.own
    mark = "=" if entry.cell.source == "proved" else ""
    weight = "bold" if entry.own else "normal"
    height = y - 0.12 if beside else y
    axes.text(x, height, percent(entry.cell.score) + mark, ha="center", va="center", color=ink, weight=weight)
    if beside and entry.change is not None:
        axes.text(x, y + 0.25, points(entry.change), ha="center", va="center", color=ink, fontsize=7)


def _summary(view: ViewReport) -> str:
    """'acc 75.0    bwt +12.5    forgetting −2.5'."""
    return "    ".join(f"{m.name} {metric_value(m)}" for m in view.metrics if m.name in SHOWN)
