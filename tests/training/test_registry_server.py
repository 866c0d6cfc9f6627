"""A run with a PostgreSQL registry whose server stops while the second task is trained."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Run, Workspace, server
from lori_cl.runtime import Progress
from lori_cl.spec import TrainSpec
from lori_cl.training import stage_training
from lori_cl.training.training_job import TrainingJob, TrainResult
from tests.postgres import Postgres

TrainRun = Callable[..., Run]


@pytest.fixture
def server_workspace(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """A workspace whose registry server stops while the second task is trained."""
    run_job = stage_training.run_job

    def interrupted(job: TrainingJob, settings: TrainSpec, progress: Progress) -> TrainResult:
        if job.title == "stage 2/3 b: training":
            postgres.stop()
            monkeypatch.setattr(stage_training, "run_job", run_job)
        return run_job(job, settings, progress)

    monkeypatch.setattr(stage_training, "run_job", interrupted)
    with postgres.database() as url:
        made = Workspace(tmp_path / "team", url)
        made.create()
        yield made


def results_of(workspace: Workspace) -> list[object]:
    """Return the masks and scores of a run."""
    with workspace.read() as registry:
        masks = [stage.mask for stage in registry.run("run").stages]
        return [*masks, *((e.stage, e.task, e.view, e.outcomes) for e in registry.evaluations("run"))]


def test_run_waits_for_its_registry_and_continues_to_the_same_scores(
    train_run: TrainRun,
    server_workspace: Workspace,
    workspace: Workspace,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "sleep", lambda _: postgres.start())
    assert train_run("a", "b", "c", into=server_workspace).status == "done"
    train_run("a", "b", "c", into=workspace)
    assert results_of(server_workspace) == results_of(workspace)


def test_run_whose_registry_stays_unavailable_can_be_resumed_to_the_same_scores(
    train_run: TrainRun,
    server_workspace: Workspace,
    workspace: Workspace,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "sleep", lambda _: None)
    with pytest.raises(WorkspaceUnusable, match="committed data is kept; repeat the command to resume"):
        train_run("a", "b", "c", into=server_workspace)
    postgres.start()
    with server_workspace.read() as registry:
        assert registry.run("run").status == "1 of 3 stages"
    assert train_run("a", "b", "c", into=server_workspace).status == "done"
    train_run("a", "b", "c", into=workspace)
    assert results_of(server_workspace) == results_of(workspace)
