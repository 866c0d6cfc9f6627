from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, SilentObserver, enrol, run_curriculum

Learn = Callable[..., Run]


@pytest.fixture
def learn(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Learn:
    """Add the tasks, run the curriculum over them, return the run."""

    def run(
        *tasks: str,
        name: str = "run",
        options: RunOptions | None = None,
        into: Workspace = workspace,
        **fields: object,
    ) -> Run:
        enrol(into, [write_task(task) for task in tasks])
        spec = load_curriculum(write_curriculum(*tasks, **fields))
        return run_curriculum(into, spec, name, options or RunOptions(), SilentObserver())

    return run


@pytest.fixture
def scores(workspace: Workspace) -> Callable[..., dict[tuple[int, str, str], Evaluation]]:
    """A run's evaluations by (stage, task, view)."""

    def read(run: str = "run") -> dict[tuple[int, str, str], Evaluation]:
        with workspace.read() as registry:
            return {(e.stage, e.task, e.view): e for e in registry.evaluations(run)}

    return read
