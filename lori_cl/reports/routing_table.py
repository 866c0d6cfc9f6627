"""Print a routed run in the terminal: the scores under every view, and the confusion matrix of tasks."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lori_cl.reports.phrases import VIEWS, percent
from lori_cl.reports.plain_tables import add_row, plain_table, print_line
from lori_cl.reports.routing import RoutedTask, Routing

VIEW_NAMES = ("as_trained", "current", "routed")


def print_routing(routing: Routing, console: Console) -> None:
    """Print the scores under each view, the confusion matrix of tasks, and how to read them."""
    print_line(console, f"Run {routing.run} after stage {routing.stage}, in percent", "bold")
    console.print(_scores(routing))
    console.print()
    print_line(console, "Confusion matrix: the task that the examples of each task were routed to", "bold")
    console.print(_confusion(routing))
    console.print()
    for name in VIEW_NAMES:
        print_line(console, f"{name}: {VIEWS[name]}", "dim")


def _scores(routing: Routing) -> Table:
    table = plain_table(["task", *VIEW_NAMES, "routing accuracy", "examples"], numbers=5)
    for task in routing.tasks:
        add_row(table, _label(task), *map(_percent, _numbers(task)), f"{task.n:,}")
    table.add_section()
    add_row(table, "mean", *_means(routing), f"{sum(task.n for task in routing.tasks):,}", style="dim")
    return table


def _label(task: RoutedTask) -> str:
    return f"{task.task} (retired)" if task.retired else task.task


def _means(routing: Routing) -> list[str]:
    """Return the unweighted means over the tasks; missing if a task's value is missing."""
    columns = zip(*map(_numbers, routing.tasks), strict=True)
    return [_percent(_mean(column)) for column in columns]


def _numbers(task: RoutedTask) -> tuple[float | None, ...]:
    return (task.as_trained, task.current, task.routed, task.routing_accuracy)


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(values) if len(known) == len(values) else None


def _confusion(routing: Routing) -> Table:
    names = [task.task for task in routing.tasks]
    table = plain_table(["examples of", *names], numbers=len(names))
    for task in routing.tasks:
        add_row(table, task.task, *(f"{task.routed_to[name]:,}" for name in names))
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)
