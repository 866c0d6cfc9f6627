"""An interference report in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from lori_cl.reports.plain import add_row, plain_table, say
from lori_cl.serving.interference import Pair, rank_correlation


def print_interference(pairs: Sequence[Pair], console: Console, *, by_site: bool = False) -> None:
    """One line a pair, or one a pair and site; then how well the ratio foretells forgetting."""
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
        return say(console, "one task is learned, so there is none for it to interfere with")
    table = plain_table(titles, numbers=5)
    for pair in pairs:
        for name, numbers in _rows(pair, by_site):
            add_row(table, pair.earlier, pair.later, *name, *numbers, _points(pair.change))
    console.print(table)
    say(
        console,
        "ratio: how large the later task's update is beside the earlier one's, on the earlier one's eval "
        "inputs. cosine: between the updates. A's: the largest cosine of the principal angles between the "
        "A's, all of which --json has. shared: cells of both. change: of the earlier task's score in the "
        "current view, in points, when the later came; · where that was not scored, or a task was retired "
        "between.",
        "dim",
    )
    correlation = rank_correlation(pairs)
    if correlation is not None:
        rho, n = correlation
        signed = _signed(rho, digits=2)
        say(console, f"Rank correlation of ratio and forgetting over {n} pairs: {signed} (Spearman)")
    return None


def _rows(pair: Pair, by_site: bool) -> list[tuple[list[str], list[str]]]:
    if by_site:
        return [
            ([s.site], [f"{s.ratio:.3f}", _signed(s.cosine), f"{s.angles[0]:.3f}", _cells(s.shared_cells)])
            for s in pair.sites
        ]
    cosine, widest = np.mean([(s.cosine, s.angles[0]) for s in pair.sites], axis=0)
    of_sites = [s.shared_cells for s in pair.sites if s.shared_cells is not None]
    shared = _cells(sum(of_sites) if of_sites else None)
    return [([], [f"{pair.ratio:.3f}", _signed(cosine), f"{widest:.3f}", shared])]


def _cells(count: int | None) -> str:
    return "·" if count is None else f"{count:,}"


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _points(change: float | None) -> str:
    return "·" if change is None else f"{100 * change:+.1f}".replace("-", "−")
