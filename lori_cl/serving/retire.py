"""Retiring a task: its cells become free for later ones, and what was learned before stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

from lori_cl.errors import InputError
from lori_cl.registry import Registry, Run, Workspace


@dataclass(frozen=True)
class Retired:
    """What became of a task's cells."""

    task: str
    """Its label."""
    cells: int
    """Cells that it owned."""
    overlap: bool
    """Whether tasks may own the same cells, which are never taken then."""
    stacked_on_it: tuple[str, ...]
    """Tasks that were trained on top of it; under as_trained they keep its cells."""


def retire_task(workspace: Workspace, run_name: str, task: str, *, force: bool = False) -> Retired:
    """Free a learned task's cells for the stages to come.

    Its own scores and those of every other task learned so far stay what they are: as_trained goes on with
    the cells that acted then. What is learned from now on neither stands on its cells nor keeps off them, and
    they no longer act in the current view. Of a null-space task the input directions are freed when no task
    stands any more that was learned beside it.

    Raises: UnknownRun; UnknownTask; RunConflict, if another process is at the run; InputError, if it has no
    cells to free, if later tasks stand on it and `force` is not given, or if they trained its cells on.
    """
    with workspace.open_held(run_name) as registry:
        return _retire(registry, run_name, task, force)


def _retire(registry: Registry, run_name: str, task: str, force: bool) -> Retired:
    run = registry.run(run_name)
    stage = run.stages[run.position(task)]
    label = stage.task
    if stage.mask is None:
        raise InputError(
            f"the tasks of run '{run_name}' own no cells ({run.method}): there is nothing to free"
        )
    stacked = _stacked_on(run, stage.position)
    if stacked and not run.curriculum["masks"].get("freeze", True):
        raise InputError(
            f"'{label}' cannot be retired: {', '.join(stacked)} trained its cells on (masks.freeze: false): "
            "what it learned stands in theirs. Begin a new run without it"
        )
    if stacked and not force:
        others = f"{', '.join(stacked)} {'was' if len(stacked) == 1 else 'were'}"
        raise InputError(
            f"'{label}' cannot be retired: {others} trained on top of its cells, and would lose them in the "
            "current view. Go ahead with --force"
        )
    registry.retire(run_name, label)
    overlap = run.curriculum["masks"].get("overlap") == "allow"
    return Retired(label, stage.mask.cells, overlap, stacked)


def _stacked_on(run: Run, position: int) -> tuple[str, ...]:
    if not run.stacks:
        return ()
    return tuple(
        stage.task for stage in run.stages if stage.position > position and stage.retired_after is None
    )
