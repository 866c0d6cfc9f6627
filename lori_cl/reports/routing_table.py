"""A routed run in the terminal: every view beside the others, and who was taken for whom."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lori_cl.reports.plain import add_row, plain_table, say
from lori_cl.reports.routing import RoutedTask, Routing
from lori_cl.reports.wording import VIEWS, percent

VIEW_NAMES = ("as_trained", "current", "routed")


def print_routing(routing: Routing, console: Console) -> None:
    """Scores under each view, then the confusion of tasks, then how to read them."""
    say(console, f"Run {routing.run} after stage {routing.stage}, in percent", "bold")
    console.print(_scores(routing))
    console.print()
    say(console, "Which task the examples of each were taken for", "bold")
    console.print(_confusion(routing))
    console.print()
    for name in VIEW_NAMES:
        say(console, f"{name}: {VIEWS[name]}", "dim")


def _scores(routing: Routing) -> Table:
    table = plain_table(["task", *VIEW_NAMES, "routing accuracy", "examples"], numbers=5)
    for task in routing.tasks:
        add_row(table, _named(task), *map(_percent, _numbers(task)), f"{task.n:,}")
    table.add_section()
    add_row(table, "mean", *_means(routing), f"{sum(task.n for task in routing.tasks):,}", style="dim")
    return table


def _named(task: RoutedTask) -> str:
    return f"{task.task} (retired)" if task.retired else task.task


def _means(routing: Routing) -> list[str]:
    """Over the tasks, each weighing the same; missing where a task's is."""
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
        add_row(table, task.task, *(f"{task.sent_to[name]:,}" for name in names))
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)
