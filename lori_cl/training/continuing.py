"""Whether a curriculum continues a run that is there, and with which tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lori_cl.errors import InputError, RunConflict
from lori_cl.methods import Learned, Method
from lori_cl.registry import Registry, Run, Task, flat
from lori_cl.spec import CurriculumSpec

FREE_FIELDS = frozenset({"name", "tasks", "model.path", "train.loggers", "train.save_steps"})
"""What may differ: tasks may be appended, and a digest says what the model is."""

EPOCHS_OF = "train.epochs_of."


def pinned_tasks(registry: Registry, curriculum: CurriculumSpec, run: Run | None) -> tuple[Task, ...]:
    """The curriculum's tasks: those that the run learned at their versions, the others at their newest.

    Raises: UnknownTask; RunConflict, if the curriculum does not begin with what the run learned.
    """
    begun = run.tasks[: len(run.stages)] if run else ()
    for position, task in enumerate(begun):
        asked = curriculum.tasks[position] if position < len(curriculum.tasks) else None
        if asked not in {task.name, task.label, f"{task.name}@{task.version}"}:
            raise RunConflict(
                f"task {position + 1} that this run learned is '{task.label}', and of the curriculum "
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

    Raises: RunConflict, naming every field that differs, with both values.
    """
    begun_with = CurriculumSpec.model_validate(run.curriculum).to_record()  # fields that came later filled in
    changed = [
        f"{field} = {before} (now {now})"
        for field, before, now in differences(begun_with, curriculum.to_record())
        if field not in FREE_FIELDS and not _of_a_task_to_come(run, field)
    ]
    if changed:
        raise RunConflict(
            f"run '{run.name}' was begun with {', '.join(changed)}; "
            "go on with what it was begun with, or choose another --name"
        )


def _of_a_task_to_come(run: Run, field: str) -> bool:
    """What is set for one task alone matters once that task is learned."""
    learned = {f"{EPOCHS_OF}{task.name}" for task in run.tasks[: len(run.stages)]}
    return field.startswith(EPOCHS_OF) and field not in learned


def settings_of(curriculum: CurriculumSpec, task: Task) -> dict[str, Any]:
    """By dotted field, all of a curriculum that decides what one of its tasks learns."""
    apart = (EPOCHS_OF, "eval.")
    fields = flat(curriculum.to_record()).items()
    shared = {f: value for f, value in fields if f not in FREE_FIELDS and not f.startswith(apart)}
    return {**shared, f"{EPOCHS_OF}{task.name}": curriculum.train.epochs_for(task.name)}


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


def check_same_projections(run: Run, method: Method, history: Sequence[Learned]) -> None:
    """Make sure that every finished stage acts under the A's that it was trained under.

    Raises: RunConflict, naming the first that does not, with both digests.
    """
    for stage, made in zip(run.stages, method.projections_of(history), strict=True):
        recorded = stage.mask.projection if stage.mask else None
        if recorded not in (None, made):
            raise RunConflict(
                f"run '{run.name}': the projections of '{stage.task}' now have digest {str(made)[:16]}…, "
                f"and it was trained under {str(recorded)[:16]}…; its cells would mean something else. "
                f"Use {drawn_with(run)}, as the run was begun with"
            )


def drawn_with(run: Run) -> str:
    """The packages that the run's A's were drawn with: 'numpy 2.3.5 and scipy 1.17.0'."""
    packages = ("numpy", "scipy")
    return " and ".join(f"{name} {run.environment[name]}" for name in packages if name in run.environment)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(dotted field, before, now) for every field that differs."""
    old, new = flat(before), flat(now)
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)
