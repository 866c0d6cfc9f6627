"""The interference report as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from lori_cl.reports.plain_tables import add_row, plain_table, print_line
from lori_cl.serving.interference import TaskPair, rank_correlation


def print_interference(pairs: Sequence[TaskPair], console: Console, *, by_site: bool = False) -> None:
    """Print one line per pair, or per pair and site, and the correlation of ratio and forgetting."""
    titles = [
        "earlier",
        "later",
        *(["site"] if by_site else []),
        "ratio",
        "cosine",
        "A's",
        "shared",
        "change",
    ]
    if not pairs:
        return print_line(
            console, "the run has fewer than two trained tasks, so there are no pairs to compare"
        )
    table = plain_table(titles, numbers=5)
    for pair in pairs:
        for name, numbers in _rows(pair, by_site):
            add_row(table, pair.earlier, pair.later, *name, *numbers, _points(pair.change))
    console.print(table)
    print_line(
        console,
        "ratio: size of the later task's update relative to the earlier task's, on the earlier task's eval "
        "inputs. cosine: between the updates. A's: the largest cosine of the principal angles between the "
        "projections A (--json has all). shared: cells of both tasks. change: change of the earlier task's "
        "score in the current view, in points, when the later task was trained; · if it was not scored, or a "
        "task was retired in between.",
        "dim",
    )
    correlation = rank_correlation(pairs)
    if correlation is not None:
        rho, n = correlation
        signed = _signed(rho, digits=2)
        print_line(console, f"Rank correlation of ratio and forgetting over {n} pairs: {signed} (Spearman)")
    return None


def _rows(pair: TaskPair, by_site: bool) -> list[tuple[list[str], list[str]]]:
    if by_site:
        return [
            ([s.site], [f"{s.ratio:.3f}", _signed(s.cosine), f"{s.angles[0]:.3f}", _cells(s.shared_cells)])
            for s in pair.sites
        ]
    cosine, angle = np.mean([(s.cosine, s.angles[0]) for s in pair.sites], axis=0)
    of_sites = [s.shared_cells for s in pair.sites if s.shared_cells is not None]
    shared = _cells(sum(of_sites) if of_sites else None)
    return [([], [f"{pair.ratio:.3f}", _signed(cosine), f"{angle:.3f}", shared])]


def _cells(count: int | None) -> str:
    return "·" if count is None else f"{count:,}"


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _points(change: float | None) -> str:
    return "·" if change is None else f"{100 * change:+.1f}".replace("-", "−")
