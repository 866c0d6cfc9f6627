"""Print a run's capacity in the terminal."""

from __future__ import annotations

from rich.console import Console

from lori_cl.registry import Run
from lori_cl.reports.capacity import PROTECTED_TEXTS, Capacity, SiteCapacity, capacity_of
from lori_cl.reports.phrases import capacity_line, share
from lori_cl.reports.plain_tables import add_row, plain_table, print_line


def print_capacity(run: Run, console: Console) -> None:
    """Print the cells of each task by site, the total of each task, and the remaining capacity."""
    capacity = capacity_of(run)
    if capacity is not None:
        _print_sites(capacity, console)
        _print_totals(capacity, console)
    print_line(console, f"{run.name}: {capacity_line(run, capacity)}")


def _print_sites(capacity: Capacity, console: Console) -> None:
    print_line(console, "Cells claimed at each site", "bold")
    inputs = ["inputs free", "inputs"] if capacity.excludes_inputs else []
    numbers = [*capacity.by_task, "free", "cells", *inputs]
    table = plain_table(["site", *numbers], numbers=len(numbers))

    for name, site in capacity.by_site.items():
        add_row(table, name, *_counts(site))
    console.print(table)
    texts = [site.inputs_taken.get(PROTECTED_TEXTS, 0) for site in capacity.by_site.values()]
    if any(texts):
        print_line(console, f"Protected texts take {min(texts):,} to {max(texts):,} inputs of each site")
    console.print()


def _counts(site: SiteCapacity) -> list[str]:
    inputs = () if site.inputs is None else (site.inputs_free, site.inputs)
    return [f"{count:,}" for count in (*site.by_task.values(), site.free, site.cells, *inputs)]


def _print_totals(capacity: Capacity, console: Console) -> None:
    print_line(console, "Cells claimed by each task", "bold")
    table = plain_table(["task", "cells", "share"], numbers=2)

    for task, count in {**capacity.by_task, "(free)": capacity.free}.items():
        add_row(table, task, f"{count:,}", share(count, capacity.cells))
    console.print(table)
    console.print()
