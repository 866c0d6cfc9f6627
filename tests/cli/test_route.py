"""The command `lori-cl route`."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trained(lori_cl: Call, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]) -> None:
    """Train a run 'first' over two tasks with different labels."""
    tasks = {"colour": ("red", "blue"), "shape": ("green", "round")}
    lori_cl("add-task", *(write_task(name, labels, n=24) for name, labels in tasks.items()))
    code, _, err = lori_cl("run", write_curriculum(*tasks), "--name", "first")
    assert code == 0, err


def test_route_prints_every_view_and_the_confusion_of_tasks(lori_cl: Call, trained: None) -> None:
    code, out, err = lori_cl("route", "first", "--json")
    assert code == 0, err
    routing = json.loads(out)
    assert (routing["run"], routing["stage"]) == ("first", 2)
    for task in routing["tasks"]:
        assert sum(task["routed_to"].values()) == task["n"] == 8
        assert task["routed_to"][task["task"]] / 8 == task["routing_accuracy"]
        assert None not in (task["as_trained"], task["current"], task["routed"])
    _, text, _ = lori_cl("route", "first")
    first = routing["tasks"][0]
    numbers = [100 * first[key] for key in ("as_trained", "current", "routed", "routing_accuracy")]
    assert re.search(r"colour +" + " +".join(f"{n:.1f}" for n in numbers) + " +8", text)


def test_report_shows_the_routed_view_after_route(lori_cl: Call, trained: None) -> None:
    _, before, _ = lori_cl("report", "first", "--json")
    lori_cl("route", "first")
    _, after, _ = lori_cl("report", "first", "--json")
    assert list(json.loads(before)["views"]) == ["as_trained", "current"]
    routed = json.loads(after)["views"]["routed"]
    assert [[cell is not None for cell in row] for row in routed["matrix"][1:]] == [
        [False, False],
        [True, True],
    ]
    assert routed["metrics"]["acc"] is not None
    assert all("routing_accuracy" in parts for parts in routed["parts"])


def test_unknown_run_is_a_one_line_error(lori_cl: Call) -> None:
    code, out, err = lori_cl("route", "frist")
    assert (code, out) == (2, "")
    assert err.startswith("UnknownRun: no run is named 'frist'.")
