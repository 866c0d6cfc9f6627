"""Routing of a run that was trained without the routed view."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import DataError, InputError, LoriError, UnknownRun
from lori_cl.evaluation import load_run
from lori_cl.registry import Evaluation, Workspace
from lori_cl.routing import Router
from lori_cl.runtime import SilentProgress
from lori_cl.serving import route
from lori_cl.serving.route import RouteOptions, load_router, predict_tasks, route_run
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum

LABELS = {"colour": ("red", "blue"), "shape": ("green", "round")}
VIEWS = ["as_trained", "current"]


@pytest.fixture
def run_job(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Callable[..., None]:
    """Return a function that trains both tasks, or the named ones, and scores them under the views."""

    def run(name: str = "run", *tasks: str, views: list[str] = VIEWS) -> None:
        tasks = tasks or tuple(LABELS)
        register_tasks(workspace, [write_task(task, LABELS[task], n=24) for task in tasks])
        curriculum = write_curriculum(*tasks, eval={"batch_size": 4, "views": views})
        run_curriculum(workspace, load_curriculum(curriculum), name, RunOptions(), SilentProgress())

    return run


def route_workspace(workspace: Workspace, name: str = "run", **options: bool) -> None:
    route_run(workspace, name, RouteOptions(**options), SilentProgress())


def routed_scores(workspace: Workspace, name: str = "run") -> dict[tuple[int, str], Evaluation]:
    with workspace.read() as registry:
        return {(e.stage, e.task): e for e in registry.evaluations(name) if e.view == "routed"}


def test_every_trained_task_is_scored_after_the_last_stage(
    run_job: Callable[..., None], workspace: Workspace
) -> None:
    run_job()
    route_workspace(workspace)
    assert routed_scores(workspace).keys() == {(2, "colour"), (2, "shape")}


def test_routing_later_gives_the_scores_of_a_run_with_the_routed_view(
    run_job: Callable[..., None], workspace: Workspace
) -> None:
    run_job("during", views=[*VIEWS, "routed"])
    run_job("late")
    route_workspace(workspace, "late")
    during, late = routed_scores(workspace, "during"), routed_scores(workspace, "late")
    for task in LABELS:
        assert late[2, task].source == "cached"
        assert late[2, task].input_digest == during[2, task].input_digest
    with workspace.read() as registry:
        assert registry.statistics("late") == registry.statistics("during")


def test_routing_a_routed_run_again_changes_nothing(
    run_job: Callable[..., None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job()
    route_workspace(workspace)
    before = routed_scores(workspace)
    monkeypatch.setattr(route, "load_run", lambda *_: pytest.fail("loaded the model"))
    route_workspace(workspace)
    assert routed_scores(workspace) == before


def test_resumed_run_is_routed_after_its_new_last_stage(
    run_job: Callable[..., None], workspace: Workspace
) -> None:
    run_job("run", "colour")
    route_workspace(workspace)
    run_job("run", "colour", "shape")
    route_workspace(workspace)
    assert routed_scores(workspace).keys() == {(1, "colour"), (2, "colour"), (2, "shape")}


def test_measure_all_detects_a_changed_score(
    run_job: Callable[..., None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job()
    route_workspace(workspace)
    before = routed_scores(workspace)
    route_workspace(workspace, measure_all=True)
    assert routed_scores(workspace) == before
    monkeypatch.setattr(Router, "route", lambda _, features: ["shape"] * len(features))
    with pytest.raises(LoriError, match=rf"'colour' .* 0\.0000 now, but {before[2, 'colour'].score:.4f} is"):
        route_workspace(workspace, measure_all=True)


def test_error_about_changed_training_data_names_both_digests(
    run_job: Callable[..., None], workspace: Workspace, tmp_path: Path
) -> None:
    run_job()
    with workspace.read() as registry:
        train_digest = registry.run("run").stages[1].train_digest[:16]
    source = tmp_path / "declared" / "shape" / "train.jsonl"
    source.write_text("".join(reversed(source.read_text().splitlines(keepends=True))))
    with pytest.raises(
        DataError, match=rf"task 'shape' .* {train_digest}…, but its source now gives [0-9a-f]+…"
    ):
        route_workspace(workspace)
    assert routed_scores(workspace) == {}


def test_unknown_run_cannot_be_routed(workspace: Workspace) -> None:
    with pytest.raises(UnknownRun):
        route_workspace(workspace)


def test_model_generated_code_runs_only_if_allowed(
    run_job: Callable[..., None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []

    def refuse(tasks: tuple, permitted: RouteOptions) -> None:
        checked.append(([task.label for task in tasks], permitted.allow_code_execution))
        raise InputError("not allowed")

    run_job()
    monkeypatch.setattr(route, "check_permissions", refuse)
    with pytest.raises(InputError, match="not allowed"):
        route_workspace(workspace)
    assert checked == [(["colour", "shape"], False)]


def test_predicted_tasks_are_those_the_scores_were_measured_with(
    run_job: Callable[..., None], workspace: Workspace
) -> None:
    run_job()
    route_workspace(workspace)
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    eval_task = loaded.eval_tasks[0]
    lines = workspace.artifacts.get(routed_scores(workspace)[2, "colour"].answers, "jsonl").splitlines()
    predicted = predict_tasks(loaded, load_router(loaded), eval_task, eval_task.examples)
    assert predicted == [json.loads(line)["sent_to"] for line in lines]


def test_error_about_missing_statistics_names_the_route_command(
    run_job: Callable[..., None], workspace: Workspace
) -> None:
    run_job()
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    with pytest.raises(InputError, match=r"for 2 of its 2 tasks \('colour' .* lori-cl route run"):
        load_router(loaded)
