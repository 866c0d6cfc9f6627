"""Check that a curriculum can resume an existing run, and pin its task versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lori_cl.errors import InputError, RunConflict
from lori_cl.methods import MaskedMethod, Method, StageState
from lori_cl.registry import Registry, Run, Task, flatten
from lori_cl.spec import CurriculumSpec

FREE_FIELDS = frozenset({"name", "tasks", "model.path", "train.loggers", "train.save_steps"})
"""Fields that may differ: tasks may be appended, and the model is identified by its digest."""

EPOCHS_OF = "train.epochs_of."


def pinned_tasks(registry: Registry, curriculum: CurriculumSpec, run: Run | None) -> tuple[Task, ...]:
    """Return the curriculum's tasks: trained tasks at the run's versions, the others at their newest.

    Raises: UnknownTask; RunConflict, if the curriculum does not start with the tasks that the run trained.
    """
    trained = run.tasks[: len(run.stages)] if run else ()
    for position, task in enumerate(trained):
        named = curriculum.tasks[position] if position < len(curriculum.tasks) else None
        if named not in {task.name, task.label, f"{task.name}@{task.version}"}:
            raise RunConflict(
                f"task {position + 1} of this run is '{task.label}', but the curriculum has "
                f"{repr(named) if named else 'no such task'}; append tasks only, or choose another --name"
            )
    tasks = (*trained, *(registry.task(name) for name in curriculum.tasks[len(trained) :]))
    labels = [task.label for task in tasks]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"the curriculum names '{label}' twice; name each task once")
    return tasks


def check_same_settings(run: Run, curriculum: CurriculumSpec) -> None:
    """Check that the run's finished stages were trained with this curriculum's settings.

    Raises: RunConflict, naming every field that differs, with both values.
    """
    recorded = CurriculumSpec.model_validate(run.curriculum).to_record()  # newer fields get their defaults
    changed = [
        f"{field} = {before} (now {now})"
        for field, before, now in differences(recorded, curriculum.to_record())
        if field not in FREE_FIELDS and not _is_for_untrained_task(run, field)
    ]
    if changed:
        raise RunConflict(
            f"run '{run.name}' was started with {', '.join(changed)}; "
            "restore these settings to resume it, or choose another --name"
        )


def _is_for_untrained_task(run: Run, field: str) -> bool:
    """Whether the field sets the epochs of one task that is not trained yet."""
    trained = {f"{EPOCHS_OF}{task.name}" for task in run.tasks[: len(run.stages)]}
    return field.startswith(EPOCHS_OF) and field not in trained


def settings_of(curriculum: CurriculumSpec, task: Task) -> dict[str, Any]:
    """Return the curriculum's settings that affect the training of one task, by dotted field."""
    excluded = (EPOCHS_OF, "eval.")
    fields = flatten(curriculum.to_record()).items()
    shared = {f: value for f, value in fields if f not in FREE_FIELDS and not f.startswith(excluded)}
    return {**shared, f"{EPOCHS_OF}{task.name}": curriculum.train.epochs_for(task.name)}


def check_same_base(run: Run, base_digest: str) -> None:
    """Check that the run is resumed with the base model that it was started with.

    Raises: RunConflict, with both digests.
    """
    if run.base_digest != base_digest:
        raise RunConflict(
            f"run '{run.name}' was started with a base model of digest {run.base_digest[:16]}…, but "
            f"{run.base_path} now has {base_digest[:16]}…: its weights, configuration or tokenizer changed; "
            "restore them, or choose another --name"
        )


def check_same_projections(run: Run, method: Method, history: Sequence[StageState]) -> None:
    """Check that every finished stage is loaded with the projections A that it was trained with.

    Raises: RunConflict, naming the first stage that differs, with both digests.
    """
    if not isinstance(method, MaskedMethod):
        return
    for stage, current in zip(run.stages, method.projections_of(history), strict=True):
        recorded = stage.mask.projection if stage.mask else None
        if recorded not in (None, current):
            raise RunConflict(
                f"run '{run.name}': the projections of '{stage.task}' now have digest {str(current)[:16]}…, "
                f"but it was trained with {str(recorded)[:16]}…; its cells are invalid under others. "
                f"Use {projection_packages(run)}, as when the run was started"
            )


def projection_packages(run: Run) -> str:
    """Return the packages that drew the run's projections A: 'numpy 2.3.5 and scipy 1.17.0'."""
    packages = ("numpy", "scipy")
    return " and ".join(f"{name} {run.environment[name]}" for name in packages if name in run.environment)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted field, before, now) for every field that differs."""
    old, new = flatten(before), flatten(now)
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)
