"""A run whose registry is a PostgreSQL server, which ends while the second task is learned."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry import Run, Workspace, server
from lori_cl.spec import TrainSpec
from lori_cl.training import Observer, learning
from lori_cl.training.lesson import Lesson, Taught
from tests.postgres import Postgres

Learn = Callable[..., Run]


@pytest.fixture
def team(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose registry's server ends while the second task is learned."""
    teach = learning.teach

    def interrupted(lesson: Lesson, settings: TrainSpec, observer: Observer) -> Taught:
        if lesson.title == "stage 2/3 b: training":
            postgres.stop()
            monkeypatch.setattr(learning, "teach", teach)
        return teach(lesson, settings, observer)

    monkeypatch.setattr(learning, "teach", interrupted)
    with postgres.database() as url:
        made = Workspace(tmp_path / "team", url)
        made.create()
        yield made


def learned(workspace: Workspace) -> list[object]:
    """What a run's masks and scores are."""
    with workspace.read() as registry:
        masks = [stage.mask for stage in registry.run("run").stages]
        return [*masks, *((e.stage, e.task, e.view, e.outcomes) for e in registry.evaluations("run"))]


def test_the_run_waits_for_its_registry_and_goes_on_to_the_same_scores(
    learn: Learn, team: Workspace, workspace: Workspace, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "sleep", lambda _: postgres.start())
    assert learn("a", "b", "c", into=team).status == "done"
    learn("a", "b", "c", into=workspace)
    assert learned(team) == learned(workspace)


def test_a_run_whose_registry_stays_away_resumes_to_the_same_scores(
    learn: Learn, team: Workspace, workspace: Workspace, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "sleep", lambda _: None)
    with pytest.raises(WorkspaceUnusable, match="the same command goes on from there"):
        learn("a", "b", "c", into=team)
    postgres.start()
    with team.read() as registry:
        assert registry.run("run").status == "1 of 3 stages"
    assert learn("a", "b", "c", into=team).status == "done"
    learn("a", "b", "c", into=workspace)
    assert learned(team) == learned(workspace)
