"""The queries of a report and of a list of runs do not grow with the number of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, event

from lori_cl.registry import Registry, Run
from lori_cl.reports import gather

from .conftest import Recorder


@contextmanager
def statements() -> Iterator[list[str]]:
    """Record every SQL statement that is executed in this context."""
    found: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", listen)


def statements_of(operation: Callable[[], object]) -> list[str]:
    with statements() as found:
        operation()
    return found


def test_run_summary_agrees_with_the_full_run(recorder: Recorder) -> None:
    recorder.run("first")
    recorder.run("second", tasks=("qqp", "sst2"), rows=((0.5, None),), base=(0.1, 0.2))
    recorder.run("third", rows=(), method="sequential-lora")
    for summary, run in zip(recorder.registry.run_summaries(), recorder.registry.runs(), strict=True):
        for field in ("name", "method", "seed", "base_path", "base_revision", "base_digest"):
            assert getattr(summary, field) == getattr(run, field)
        assert summary.task_labels == run.task_labels
        assert (summary.stages_done, summary.status) == (run.stages_done, run.status)
        assert summary.created_at == run.created_at


def test_number_of_queries_does_not_grow_with_the_number_of_runs(recorder: Recorder) -> None:
    registry = recorder.registry
    recorder.run("run-0")
    operations = (registry.run_summaries, lambda: gather(registry, "run-0"))
    before = [statements_of(operation) for operation in operations]
    for i in range(1, 6):
        recorder.run(f"run-{i}")
    after = [statements_of(operation) for operation in operations]
    assert [len(each) for each in after] == [len(each) for each in before]
    assert not any("masks" in statement or "outcomes" in statement for statement in after[0])
    assert sum("outcomes" in statement for statement in after[1]) == 1


def first_scores(registry: Registry, like: Run) -> dict[str, float]:
    """Return the scores that a report compares with, found run by run as a reference."""
    settings = {**like.curriculum, "name": None, "tasks": None}
    return {
        other.tasks[0].label: evaluation.score
        for other in registry.runs()
        if {**other.curriculum, "name": None, "tasks": None} == settings
        for evaluation in registry.evaluations(other.name)
        if evaluation.stage == 1 and evaluation.task == other.tasks[0].label
    }


def test_single_task_scores_come_from_the_newest_run_with_the_same_settings(
    recorder: Recorder, monkeypatch: Any
) -> None:
    registry = recorder.registry
    orders = [("sst2", "agnews", "qqp"), ("agnews", "sst2", "qqp"), ("agnews", "qqp", "sst2")]
    for i, tasks in enumerate(orders):
        recorder.run(f"run-{i}", tasks, ((0.1 * i + 0.3, None, None),))
    recorder.run("plain", ("qqp", "sst2", "agnews"), ((0.9, None, None),), method="sequential-lora")
    run = registry.run("run-0")

    def has_same_settings(found: Any) -> bool:
        return {**found, "name": None, "tasks": None} == {**run.curriculum, "name": None, "tasks": None}

    expected = first_scores(registry, run)
    assert set(expected) == {"sst2", "agnews"}
    assert expected["agnews"] == 0.5
    assert registry.first_stage_scores(run, has_same_settings) == expected
    monkeypatch.setattr("lori_cl.registry.summaries.RUNS_PER_QUERY", 1)
    assert registry.first_stage_scores(run, has_same_settings) == expected
    assert registry.first_stage_scores(replace(run, base_digest="0" * 64), has_same_settings) == {}
