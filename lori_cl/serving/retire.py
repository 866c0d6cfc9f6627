"""Retire a task: free its cells for later tasks, and keep all recorded scores."""

from __future__ import annotations

from dataclasses import dataclass

from lori_cl.errors import InputError
from lori_cl.registry import Registry, Run, Workspace


@dataclass(frozen=True)
class RetireResult:
    """The retired task and its cells."""

    task: str
    """Its label."""
    cells: int
    """Cells that it owned."""
    overlap: bool
    """Whether tasks may own the same cells; then cells are always free for every task."""
    dependents: tuple[str, ...]
    """Tasks that were trained on top of it; their as_trained views keep its cells."""


def retire_task(workspace: Workspace, run_name: str, task: str, *, force: bool = False) -> RetireResult:
    """Free the cells of a trained task for later stages.

    The scores of this and all other trained tasks stay valid: as_trained views keep the cells that were
    active then. The current view no longer uses the task's cells. Later tasks neither depend on these cells
    nor avoid them. The input directions of a null-space task are freed once every task that was trained next
    to it is retired too.

    Raises: UnknownRun; UnknownTask; RunConflict, if another process uses the run; InputError, if the task has
    no cells to free, if later tasks depend on it and `force` is not set, or if they trained its cells
    further.
    """
    with workspace.open_locked(run_name) as registry:
        return _retire(registry, run_name, task, force)


def _retire(registry: Registry, run_name: str, task: str, force: bool) -> RetireResult:
    run = registry.run(run_name)
    stage = run.stages[run.position(task)]
    label = stage.task
    if stage.mask is None:
        raise InputError(
            f"the tasks of run '{run_name}' own no cells ({run.method}); there is nothing to free"
        )
    stacked = _stacked_on(run, stage.position)
    if stacked and not run.curriculum["masks"].get("freeze", True):
        raise InputError(
            f"'{label}' cannot be retired: {', '.join(stacked)} trained its cells further "
            "(masks.freeze: false), so its values are part of theirs. Start a new run without it"
        )
    if stacked and not force:
        others = f"{', '.join(stacked)} {'was' if len(stacked) == 1 else 'were'}"
        raise InputError(
            f"'{label}' cannot be retired: {others} trained on top of its cells, and would lose them in the "
            "current view. Use --force to retire it anyway"
        )
    registry.retire(run_name, label)
    overlap = run.may_overlap
    return RetireResult(label, stage.mask.cells, overlap, stacked)


def _stacked_on(run: Run, position: int) -> tuple[str, ...]:
    if not run.is_stacked:
        return ()
    return tuple(
        stage.task for stage in run.stages if stage.position > position and stage.retired_after is None
    )
