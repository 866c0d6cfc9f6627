from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lori_cl.errors import LoriError, UnknownTask
from lori_cl.registry import Declaration, Registry, Workspace

from .registry_records import LONG_AGO, add, eval_set, sha, task_spec


def test_first_version_of_a_task_is_new_and_labelled_with_the_plain_name(registry: Registry) -> None:
    task, new = registry.add_task(task_spec("sst2"), eval_set(), "tasks")
    assert (task.version, task.label, new) == (1, "sst2", True)


def test_the_same_content_twice_is_the_same_version(registry: Registry) -> None:
    first, _ = registry.add_task(task_spec("sst2"), eval_set(), "tasks")
    second, new = registry.add_task(task_spec("sst2"), eval_set(), "tasks")
    assert (second.version, new) == (first.version, False)
    assert len(registry.tasks()) == 1


def test_field_order_of_a_declaration_makes_no_new_version(registry: Registry) -> None:
    registry.add_task(task_spec("sst2"), eval_set(), "tasks")
    reordered = dict(reversed(task_spec("sst2").items()))
    assert registry.add_task(reordered, eval_set(), "tasks")[1] is False


def test_changed_content_under_a_known_name_is_version_2(registry: Registry) -> None:
    registry.add_task(task_spec("sst2"), eval_set(), "tasks")
    task, new = registry.add_task(task_spec("sst2", seed=4), eval_set(), "tasks")
    assert (task.version, task.label, task.seed, new) == (2, "sst2@2", 4, True)


def test_changed_eval_set_with_the_same_declaration_is_a_new_version(registry: Registry) -> None:
    registry.add_task(task_spec("sst2"), eval_set("examples"), "tasks")
    task, new = registry.add_task(task_spec("sst2"), eval_set("other examples"), "tasks")
    assert (task.label, task.eval_set.digest, new) == ("sst2@2", sha("other examples"), True)


def test_reverting_to_earlier_content_is_a_new_version(
    registry: Registry,
) -> None:
    for seed in (3, 4):
        registry.add_task(task_spec("sst2", seed=seed), eval_set(), "tasks")
    task, new = registry.add_task(task_spec("sst2", seed=3), eval_set(), "tasks")
    assert (task.version, new) == (3, True)
    assert registry.task("sst2").seed == 3


def test_moved_task_keeps_its_version_and_gets_the_new_folder(registry: Registry) -> None:
    registry.add_task(task_spec("sst2"), eval_set(), "old")
    task, new = registry.add_task(task_spec("sst2"), eval_set(), "new")
    assert (task.version, task.declared_in, new) == (1, "new", False)


def test_adding_several_tasks_is_atomic(registry: Registry) -> None:
    good = Declaration(task_spec("sst2"), eval_set(), "tasks")
    bad = Declaration({**task_spec("agnews"), "kind": None}, eval_set(), "tasks")
    with pytest.raises(LoriError):
        registry.add_tasks([good, bad])
    assert registry.tasks() == []


def test_plain_name_means_the_newest_version_and_a_number_selects_one(registry: Registry) -> None:
    for seed in (3, 4, 5):
        registry.add_task(task_spec("sst2", seed=seed), eval_set(), "tasks")
    assert [registry.task(name).seed for name in ("sst2", "sst2@1", "sst2@2", "sst2@3")] == [5, 3, 4, 5]


def test_tasks_are_listed_in_the_order_they_were_added(registry: Registry) -> None:
    add(registry, "sst2", "agnews")
    registry.add_task(task_spec("sst2", seed=9), eval_set(), "tasks")
    assert [task.label for task in registry.tasks()] == ["sst2", "agnews", "sst2@2"]


def test_two_tasks_may_share_one_eval_set(registry: Registry) -> None:
    for name in ("sst2", "sst2-again"):
        registry.add_task(task_spec(name), eval_set("shared"), "tasks")
    assert {task.eval_set.digest for task in registry.tasks()} == {sha("shared")}


def test_task_is_read_back_as_it_was_added(workspace: Workspace) -> None:
    with workspace.open() as registry:
        added, _ = registry.add_task(task_spec("sst2", description="naïve 🙂"), eval_set(), "tasks/bench")
    with workspace.read() as registry:
        found = registry.task("sst2")
    assert replace(found, created_at=LONG_AGO) == replace(added, created_at=LONG_AGO)
    assert (found.declared_in, found.eval_set.n) == ("tasks/bench", 4)
    assert found.spec == task_spec("sst2", description="naïve 🙂")


def test_creation_time_is_read_back_unchanged(workspace: Workspace) -> None:
    with workspace.open() as registry:
        added, _ = registry.add_task(task_spec(), eval_set(), "tasks")
    with workspace.read() as registry:
        found = registry.task("sst2").created_at
    assert found == added.created_at
    assert abs(datetime.now(UTC) - found) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("unknown", "suggestion"),
    [("sst3", "sst2"), ("SST2", "sst2"), ("agnew", "agnews"), ("agnews@2", "agnews"), ("sst2@9", "sst2@2")],
)
def test_error_about_an_unknown_task_suggests_the_nearest_name(
    registry: Registry, unknown: str, suggestion: str
) -> None:
    add(registry, "sst2", "agnews")
    registry.add_task(task_spec("sst2", seed=9), eval_set(), "tasks")
    with pytest.raises(
        UnknownTask,
        match=rf"^no task is named '{unknown}'\. Did you mean '{suggestion}'\? See: lori-cl tasks$",
    ):
        registry.task(unknown)


def test_error_about_an_unknown_task_without_a_similar_name_suggests_no_name(registry: Registry) -> None:
    add(registry, "sst2")
    with pytest.raises(UnknownTask, match=r"^no task is named 'xylophone'\. See: lori-cl tasks$"):
        registry.task("xylophone")
