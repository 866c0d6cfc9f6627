"""Whether a curriculum continues a run that is there, and with which tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lori_cl.errors import InputError, RunConflict
from lori_cl.registry import Registry, Run, Task
from lori_cl.spec import CurriculumSpec

FREE_FIELDS = frozenset({"name", "tasks"})
"""What may differ: the run has a name of its own, and tasks may be appended."""


def pinned_tasks(registry: Registry, curriculum: CurriculumSpec, run: Run | None) -> tuple[Task, ...]:
    """The curriculum's tasks: those of the run at the versions it began with, new ones at their newest.

    Raises: UnknownTask; RunConflict, if the curriculum is not the run's with tasks appended.
    """
    begun = run.tasks if run else ()
    for position, task in enumerate(begun):
        asked = curriculum.tasks[position] if position < len(curriculum.tasks) else None
        if asked not in {task.name, task.label, f"{task.name}@{task.version}"}:
            raise RunConflict(
                f"task {position + 1} of this run is '{task.label}', and of the curriculum "
                f"{repr(asked) if asked else 'nothing'}; append tasks at the end, or choose another --name"
            )
    tasks = (*begun, *(registry.task(name) for name in curriculum.tasks[len(begun) :]))
    labels = [task.label for task in tasks]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"the curriculum names '{label}' twice; a task stands once in a curriculum")
    return tasks


def check_same_settings(run: Run, curriculum: CurriculumSpec) -> None:
    """Make sure that the run's earlier stages were trained as this curriculum says.

    Raises: RunConflict, naming the first field that differs, with both values.
    """
    for field, before, now in differences(run.curriculum, curriculum.to_record()):
        raise RunConflict(
            f"run '{run.name}' was begun with {field} = {before}, and now it is {now}; "
            "go on with the old value, or choose another --name"
        )


def check_same_base(run: Run, base_digest: str) -> None:
    """Make sure that the run goes on with the base model it began with.

    Raises: RunConflict, with both digests.
    """
    if run.base_digest != base_digest:
        raise RunConflict(
            f"run '{run.name}' was begun on a base model of digest {run.base_digest[:16]}…, and "
            f"{run.base_path} now has {base_digest[:16]}…: its weights, configuration or tokenizer changed; "
            "restore them, or choose another --name"
        )


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], at: Sequence[str] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """(dotted field, before, now) for every field that differs."""
    for key in before.keys() | now.keys() if at else (before.keys() | now.keys()) - FREE_FIELDS:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, (*at, key))
        elif old != new:
            yield ".".join((*at, key)), old, new
