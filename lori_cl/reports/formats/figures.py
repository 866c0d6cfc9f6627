"""PNG and SVG: one figure with a heat map for each run and view, all on one colour scale."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lori_cl.errors import one_line
from lori_cl.reports.phrases import metric_value, percent, points, run_title, stage_name
from lori_cl.reports.report import Entry, RunReport, ViewReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = "YlGnBu"  # light to dark, so colour-blind readers can read it
MISSING = "0.95"
HATCH = "0.75"
DARK_ABOVE = 0.68
"""Scores above this have so dark a colour that their text is white."""
MARGIN_INCHES = (1.3, 1.3)
"""Space of a panel next to and below its cells, for names and metrics."""
LONG_NAME = 9
"""Names with more characters than this are slanted: they do not fit above one column."""
DPI = 150
LONGEST_SIDE = 12_000
"""Pixels; a larger figure is drawn at a lower resolution."""
MAX_PIXELS = 40_000_000
"""160 MB while drawing."""
LONGEST_NAME = 40
"""Characters; a longer name is truncated, to leave space for the cells."""
SHOWN = ("acc", "bwt", "forgetting")


@dataclass(frozen=True)
class CellStyle:
    """Size and contents of the cells of a matrix."""

    max_size: int
    """Maximum number of tasks or stages for this style."""
    width: float
    height: float
    """Inches."""
    scores: bool
    changes: bool
    font: float
    """Font size of names and scores, in points."""


STYLES = (
    CellStyle(max_size=12, width=0.9, height=0.52, scores=True, changes=True, font=9),
    CellStyle(max_size=30, width=0.42, height=0.26, scores=True, changes=False, font=7),
    CellStyle(max_size=10**9, width=0.13, height=0.13, scores=False, changes=False, font=6),
)
"""From few tasks to many. A hundred tasks in the first style would need 27,000 pixels."""
MAX_TASKS_SIDE_BY_SIDE = 30
"""Maximum number of tasks for which a run's views are side by side; with more, one below the other."""
LEGEND = "small: change since learned, in points     =: cached score     hatched: not evaluated"
LEGEND_OF_SAMPLES = "~: on a sample of the eval set"
LEGEND_OF_MANY = "colour: score     hatched: not evaluated     all numbers: --format csv or html"


def png(reports: Sequence[RunReport]) -> bytes:
    """Render the figure as PNG."""
    return _render(reports, "png", {"Software": None})


def svg(reports: Sequence[RunReport]) -> bytes:
    """Render the figure as SVG."""
    return _render(reports, "svg", {"Date": None, "Creator": None})


def _render(reports: Sequence[RunReport], kind: str, metadata: dict[str, Any]) -> bytes:
    """Render the figure reproducibly: without a date and without random ids."""
    file = io.BytesIO()
    with _style():
        figure = _figure(reports)
        figure.savefig(file, format=kind, dpi=_dpi(*figure.get_size_inches()), metadata=metadata)
    return file.getvalue()


def _dpi(width: float, height: float) -> float:
    """Return the resolution, in dots per inch, at which the figure stays within its limits."""
    return min(DPI, LONGEST_SIDE / max(width, height), math.sqrt(MAX_PIXELS / (width * height)))


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl  # takes half a second to import, and only figures need it

    # Do not parse a task name with a dollar sign as a formula.
    with mpl.rc_context({"svg.hashsalt": "lori_cl", "text.parse_math": False, "font.size": 9}):
        yield


def _figure(reports: Sequence[RunReport]) -> Figure:
    """Draw one row of panels per run; with many tasks, one row per view."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    style = max((_style_of(report) for report in reports), key=lambda each: each.max_size)
    widest = max(len(report.tasks) for report in reports)
    across = max(len(report.views) for report in reports) if widest <= MAX_TASKS_SIDE_BY_SIDE else 1
    grid = [row for report in reports for row in _rows(report, across)]
    heights = [(len(row[0][0].run.stages) + 1) * style.height + MARGIN_INCHES[1] for row in grid]
    width = across * (widest * style.width + MARGIN_INCHES[0]) + 1.2
    figure = Figure(figsize=(max(width, 8), sum(heights) + 0.9), layout="constrained")
    panels = figure.subplots(len(grid), across, squeeze=False, height_ratios=heights)
    for row, axes_of_row in zip(grid, panels, strict=True):
        for axes in axes_of_row[len(row) :]:
            axes.set_axis_off()
        for (report, view), axes in zip(row, axes_of_row, strict=False):
            image = _draw(report, view, axes, style)
    shrink = 0.8 if len(grid) == 1 else 0.4
    figure.colorbar(image, ax=panels, label="score, %", shrink=shrink, aspect=30, pad=0.015)
    figure.suptitle("Every task's score after every stage", fontsize=13, fontweight="bold")
    figure.supxlabel(_legend(reports, style), fontsize=8, color="0.35")
    return figure


def _legend(reports: Sequence[RunReport], style: CellStyle) -> str:
    if not style.changes:
        return LEGEND_OF_MANY
    sampled = any(view.has_samples for report in reports for view in report.views)
    return f"{LEGEND}     {LEGEND_OF_SAMPLES}" if sampled else LEGEND


def _style_of(report: RunReport) -> CellStyle:
    size = max(len(report.tasks), len(report.run.stages))
    return next(style for style in STYLES if size <= style.max_size)


def _rows(report: RunReport, across: int) -> list[list[tuple[RunReport, ViewReport]]]:
    """Return a run's views in rows of at most `across` panels."""
    views = [(report, view) for view in report.views]
    return [views[begin : begin + across] for begin in range(0, len(views), across)]


def _draw(report: RunReport, view: ViewReport, axes: Axes, style: CellStyle) -> AxesImage:
    tasks, rows = [_short_name(task) for task in view.matrix.tasks], view.rows()
    _hatch(axes)
    image = axes.imshow(100 * view.matrix.scores, cmap=COLOURS, vmin=0, vmax=100, aspect="auto")
    axes.set_title(f"{_short_name(report.run.name)}, view {view.name}\n", fontsize=10, fontweight="bold")
    above: dict[str, Any] = {"xy": (0.5, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(_short_name(run_title(report.run)), xytext=(0, 5), ha="center", color="0.35", **above)
    axes.set_xticks(range(len(tasks)), tasks, fontsize=style.font)
    if not style.scores:
        axes.tick_params(axis="x", rotation=90)
    elif len(max(tasks, key=len)) > LONG_NAME or not style.changes:
        _slant(axes)
    names = [_short_name(stage_name(row.stage, row.task)) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=style.font)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(_summary(view), labelpad=8)
    axes.set_xticks([j - 0.5 for j in range(1, len(tasks))], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color="white", linewidth=2 if style.changes else 0.5)
    if style.scores:
        for row in rows:
            for j, entry in enumerate(row.entries):
                _write(axes, j, row.stage, entry, style)
    return image


def _short_name(name: str) -> str:
    """Return a name in one line, truncated to leave space for the cells."""
    name = one_line(name)
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _slant(axes: Axes) -> None:
    """Slant the names, which would overlap otherwise."""
    for label in axes.get_xticklabels():
        label.set(rotation=25, horizontalalignment="right", rotation_mode="anchor")


def _hatch(axes: Axes) -> None:
    """Draw one hatched background, visible wherever a score is missing."""
    from matplotlib.patches import Rectangle

    style: dict[str, Any] = {"facecolor": MISSING, "edgecolor": HATCH, "hatch": "///", "lw": 0, "zorder": -1}
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, **style))


def _write(axes: Axes, x: int, y: int, entry: Entry | None, style: CellStyle) -> None:
    if entry is None:
        return
    ink = "white" if entry.cell.score > DARK_ABOVE else "black"
    has_change = style.changes and entry.change is not None and not entry.own
    mark = entry.mark if style.changes else ""
    text_style: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    weight = "bold" if entry.own else "normal"
    score_y = y - 0.12 if has_change else y
    score = percent(entry.cell.score) + mark
    axes.text(x, score_y, score, weight=weight, fontsize=style.font, **text_style)
    if has_change and entry.change is not None:
        axes.text(x, y + 0.25, points(entry.change), fontsize=7, **text_style)


def _summary(view: ViewReport) -> str:
    """Return 'acc 75.0    bwt +12.5    forgetting −2.5'."""
    return "    ".join(f"{m.name} {metric_value(m)}" for m in view.metrics if m.name in SHOWN)
