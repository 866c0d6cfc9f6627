"""Routing a run that was learned without it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import DataError, InputError, LoriError, UnknownRun
from lori_cl.registry import Evaluation, Workspace
from lori_cl.routing import Router
from lori_cl.serving import route
from lori_cl.serving.route import RouteOptions, guess, load_router, route_run
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, SilentObserver, enrol, load_run, run_curriculum

LABELS = {"colour": ("red", "blue"), "shape": ("green", "round")}
VIEWS = ["as_trained", "current"]


@pytest.fixture
def teach(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Callable[..., None]:
    """Teach both tasks, or those named, scored under these views."""

    def run(name: str = "run", *tasks: str, views: list[str] = VIEWS) -> None:
        tasks = tasks or tuple(LABELS)
        enrol(workspace, [write_task(task, LABELS[task], n=24) for task in tasks])
        curriculum = write_curriculum(*tasks, eval={"batch_size": 4, "views": views})
        run_curriculum(workspace, load_curriculum(curriculum), name, RunOptions(), SilentObserver())

    return run


def route_it(workspace: Workspace, name: str = "run", **options: bool) -> None:
    route_run(workspace, name, RouteOptions(**options), SilentObserver())


def routed_of(workspace: Workspace, name: str = "run") -> dict[tuple[int, str], Evaluation]:
    with workspace.read() as registry:
        return {(e.stage, e.task): e for e in registry.evaluations(name) if e.view == "routed"}


def test_every_learned_task_is_scored_after_the_last_stage(
    teach: Callable[..., None], workspace: Workspace
) -> None:
    teach()
    route_it(workspace)
    assert routed_of(workspace).keys() == {(2, "colour"), (2, "shape")}


def test_it_comes_to_what_a_run_comes_to_that_was_routed_all_along(
    teach: Callable[..., None], workspace: Workspace
) -> None:
    teach("along", views=[*VIEWS, "routed"])
    teach("late")
    route_it(workspace, "late")
    along, late = routed_of(workspace, "along"), routed_of(workspace, "late")
    for task in LABELS:
        assert late[2, task].source == "proved"
        assert late[2, task].input_digest == along[2, task].input_digest
    with workspace.read() as registry:
        assert registry.statistics("late") == registry.statistics("along")


def test_a_routed_run_is_not_touched_again(
    teach: Callable[..., None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach()
    route_it(workspace)
    before = routed_of(workspace)
    monkeypatch.setattr(route, "load_run", lambda *_: pytest.fail("loaded the model"))
    route_it(workspace)
    assert routed_of(workspace) == before


def test_a_run_that_went_on_is_routed_after_its_new_last_stage(
    teach: Callable[..., None], workspace: Workspace
) -> None:
    teach("run", "colour")
    route_it(workspace)
    teach("run", "colour", "shape")
    route_it(workspace)
    assert routed_of(workspace).keys() == {(1, "colour"), (2, "colour"), (2, "shape")}


def test_measuring_again_finds_a_score_that_comes_out_otherwise(
    teach: Callable[..., None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach()
    route_it(workspace)
    before = routed_of(workspace)
    route_it(workspace, measure_all=True)
    assert routed_of(workspace) == before
    monkeypatch.setattr(Router, "route", lambda _, features: ["shape"] * len(features))
    with pytest.raises(LoriError, match=rf"'colour' .* 0\.0000, and {before[2, 'colour'].score:.4f} is"):
        route_it(workspace, measure_all=True)


def test_a_source_that_changed_is_told_with_both_digests(
    teach: Callable[..., None], workspace: Workspace, tmp_path: Path
) -> None:
    teach()
    with workspace.read() as registry:
        learned_from = registry.run("run").stages[1].train_digest[:16]
    source = tmp_path / "declared" / "shape" / "train.jsonl"
    source.write_text("".join(reversed(source.read_text().splitlines(keepends=True))))
    with pytest.raises(DataError, match=rf"task 'shape' .* {learned_from}…, and its source gives [0-9a-f]+…"):
        route_it(workspace)
    assert routed_of(workspace) == {}


def test_a_run_with_nothing_learned_cannot_be_routed(workspace: Workspace) -> None:
    with pytest.raises(UnknownRun):
        route_it(workspace)


def test_what_a_model_writes_runs_only_where_that_is_allowed(
    teach: Callable[..., None], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(tasks: tuple, allowed: bool) -> None:
        asked.append(([task.label for task in tasks], allowed))
        raise InputError("not allowed")

    teach()
    monkeypatch.setattr(route, "check_code_execution", refuse)
    with pytest.raises(InputError, match="not allowed"):
        route_it(workspace)
    assert asked == [(["colour", "shape"], False)]


def test_a_guess_is_what_the_scores_were_taken_with(teach: Callable[..., None], workspace: Workspace) -> None:
    teach()
    route_it(workspace)
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    question = loaded.questions[0]
    lines = workspace.artifacts.get(routed_of(workspace)[2, "colour"].answers, "jsonl").splitlines()
    guessed = guess(loaded, load_router(loaded), question, question.examples)
    assert guessed == [json.loads(line)["sent_to"] for line in lines]


def test_a_run_without_statistics_says_how_to_gather_them(
    teach: Callable[..., None], workspace: Workspace
) -> None:
    teach()
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    with pytest.raises(InputError, match=r"2 of its 2 tasks by \('colour' .* lori-cl route run"):
        load_router(loaded)
