"""Check that a curriculum can resume an existing run, and pin its task versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lori_cl.errors import InputError, RunConflict
from lori_cl.masks import STRATEGIES
from lori_cl.methods import METHODS, StageState, check_settings
from lori_cl.registry import Registry, Run, Task, flatten
from lori_cl.spec import CurriculumSpec

FREE_FIELDS = frozenset(
    {"name", "tasks", "model.path", "adapter.null_space.protect", "train.loggers", "train.save_steps"}
)
"""Fields that may differ: tasks may be appended, and the model and the protected texts have digests."""

PLACEMENT = ("model.device_map", "model.max_memory")
"""Fields that say where the base model is; they may differ, and so may the fields in them."""

EPOCHS_OF = "train.epochs_of."

DEFAULT_CALIBRATION = 0.1
"""Default of `masks.calibration.fraction`; docs/null-space.md compares it with others."""


class SettledCurriculum(NamedTuple):
    """A curriculum with what a new or an existing run decides: versions of tasks, and recorded defaults."""

    curriculum: CurriculumSpec
    tasks: tuple[Task, ...]
    also: tuple[Task, ...]
    """The tasks of `eval.also`."""


def settle(registry: Registry, curriculum: CurriculumSpec, run: Run | None) -> SettledCurriculum:
    """Pin the tasks and the defaults of a curriculum, and check its settings, for a new or an existing run.

    Raises: UnknownTask; RunConflict; SpecError; InputError; see `pinned_tasks`, `pin_also` and
    `check_run_settings`.
    """
    tasks = pinned_tasks(registry, curriculum, run)
    curriculum, also = pin_also(registry, curriculum, tasks, run)
    curriculum = with_calibration_length(curriculum, run)
    check_run_settings(curriculum, run)
    return SettledCurriculum(curriculum, tasks, also)


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
    for task in tasks:
        if task.spec.get("eval_only"):
            raise InputError(f"task '{task.label}' is eval_only: it cannot be trained; name it in eval.also")
    return tasks


def pin_also(
    registry: Registry, curriculum: CurriculumSpec, tasks: Sequence[Task], run: Run | None
) -> tuple[CurriculumSpec, tuple[Task, ...]]:
    """Return the curriculum with the versions of the tasks in `eval.also`, as NAME@VERSION, and these tasks.

    A plain name means the version that the run uses, or the newest one.

    Raises: UnknownTask; InputError, if a task is also trained or named twice.
    """
    if curriculum.eval.also is None:
        return curriculum, ()
    used = {task.name: task for task in run.also} if run else {}
    also = tuple(used.get(name) or registry.task(name) for name in curriculum.eval.also)
    labels = [task.label for task in (*tasks, *also)]
    for task in also:
        if labels.count(task.label) > 1:
            raise InputError(f"eval.also names '{task.label}', which the curriculum names already; remove it")
    pinned = tuple(f"{task.name}@{task.version}" for task in also)
    scoring = curriculum.eval.model_copy(update={"also": pinned})
    return curriculum.model_copy(update={"eval": scoring}), also


def with_calibration_length(curriculum: CurriculumSpec, run: Run | None) -> CurriculumSpec:
    """Return the curriculum with the fraction of `masks.calibration` that a new or an existing run uses.

    A whole calibration is recorded as None, as in runs of earlier versions, which knew no fraction.
    """
    masks = curriculum.masks
    needs_training = masks.strategy in STRATEGIES and STRATEGIES[masks.strategy].needs == "calibrated_b"
    if curriculum.method != "lori" or not needs_training or masks.calibration.epochs is not None:
        return curriculum
    fraction = masks.calibration.fraction
    if fraction is None:
        fraction = DEFAULT_CALIBRATION if run is None else _recorded_fraction(run)
    calibration = masks.calibration.model_copy(update={"fraction": None if fraction == 1 else fraction})
    return curriculum.model_copy(update={"masks": masks.model_copy(update={"calibration": calibration})})


def _recorded_fraction(run: Run) -> float | None:
    return CurriculumSpec.model_validate(run.curriculum).masks.calibration.fraction


def check_run_settings(curriculum: CurriculumSpec, run: Run | None) -> None:
    """Check the settings of an existing run against its own, and of a new one against its method.

    An earlier version ignored settings that the method does not read; its runs can still be resumed.
    Raises: RunConflict; SpecError.
    """
    if run is not None:
        check_same_settings(run, curriculum)
    else:
        check_settings(curriculum, METHODS.find(curriculum.method))


def check_same_settings(run: Run, curriculum: CurriculumSpec) -> None:
    """Check that the run's finished stages were trained with this curriculum's settings.

    Raises: RunConflict, naming every field that differs, with both values.
    """
    recorded = CurriculumSpec.model_validate(run.curriculum).to_record()  # newer fields get their defaults
    changed = [
        f"{field} = {before} (now {now})"
        for field, before, now in differences(recorded, curriculum.to_record())
        if not _is_free(field) and not _is_for_untrained_task(run, field)
    ]
    if changed:
        raise RunConflict(
            f"run '{run.name}' was started with {', '.join(changed)}; "
            "restore these settings to resume it, or choose another --name"
        )


def _is_free(field: str) -> bool:
    """Whether a field does not affect what is learned."""
    return field in FREE_FIELDS or field.startswith(PLACEMENT)


def _is_for_untrained_task(run: Run, field: str) -> bool:
    """Whether the field sets the epochs of one task that is not trained yet."""
    trained = {f"{EPOCHS_OF}{task.name}" for task in run.tasks[: len(run.stages)]}
    return field.startswith(EPOCHS_OF) and field not in trained


def settings_of(curriculum: CurriculumSpec, task: Task) -> dict[str, Any]:
    """Return the curriculum's settings that affect the training of one task, by dotted field."""
    excluded = (EPOCHS_OF, "eval.")
    fields = flatten(curriculum.to_record()).items()
    shared = {f: value for f, value in fields if not _is_free(f) and not f.startswith(excluded)}
    return {**shared, f"{EPOCHS_OF}{task.name}": curriculum.train.epochs_for(task.name)}


def stage_inputs(curriculum: CurriculumSpec, task: Task) -> dict[str, Any]:
    """Return all inputs of a task's stage and scores, except earlier stages, as JSON values."""
    return {
        "settings": settings_of(curriculum, task),
        "eval": curriculum.eval.model_dump(mode="json"),
        "task": task.spec,
        "eval_set": task.eval_set.digest,
    }


def parent_stages(history: Sequence[StageState]) -> tuple[tuple[str, int | None], ...]:
    """Return (artifact, retired_after) of each finished stage, as recorded for the next stage."""
    return tuple((state.artifact, state.retired_after) for state in history)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted field, before, now) for every field that differs."""
    old, new = flatten(before), flatten(now)
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield field, old.get(field), new.get(field)
