"""View `routed`: the router predicts the task, and the predicted task answers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lori_cl.errors import ArtifactDamaged
from lori_cl.evaluation import load_run, routing_statistics
from lori_cl.evaluation.routed_view import Candidate, Routed
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.routing import Router, TaskStatistics
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks import kind_of
from lori_cl.training import RunOptions, loop, run_curriculum, stage_training

Scores = Callable[..., dict[tuple[int, str, str], Evaluation]]
RunJob = Callable[..., Run]

ALL = ["as_trained", "current", "routed"]
LABELS = {"colour": ("red", "blue"), "shape": ("green", "round"), "size": ("square", "flat")}
"""Each text contains its label, which also identifies its task."""


@pytest.fixture
def run_job(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> RunJob:
    """Train some of the tasks above and score them in these views."""

    def run(
        *tasks: str,
        name: str = "run",
        views: Sequence[str] = ALL,
        options: RunOptions | None = None,
        into: Workspace = workspace,
        **fields: object,
    ) -> Run:
        register_tasks(into, [write_task(task, LABELS[task], n=24) for task in tasks])
        curriculum = write_curriculum(*tasks, eval={"batch_size": 4, "views": list(views)}, **fields)
        return run_curriculum(
            into, load_curriculum(curriculum), name, options or RunOptions(), SilentProgress()
        )

    return run


def answered(workspace: Workspace, evaluation: Evaluation) -> list[dict[str, Any]]:
    lines = workspace.artifacts.get(evaluation.answers, "jsonl").decode().splitlines()
    return [json.loads(line) for line in lines]


def route_all_texts_to(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setattr(Router, "route", lambda _, features: [task] * len(features))


def test_every_trained_task_is_routed_after_every_stage(run_job: RunJob, scores: Scores) -> None:
    run_job("colour", "shape")
    routed = {key: e for key, e in scores().items() if key[2] == "routed"}
    assert routed.keys() == {(i, t, "routed") for i, t in [(1, "colour"), (2, "colour"), (2, "shape")]}
    assert all(0 <= e.parts["routing_accuracy"] <= 1 for e in routed.values())


def test_run_without_the_routed_view_gathers_no_statistics(run_job: RunJob, workspace: Workspace) -> None:
    run_job("colour", views=["as_trained"])
    with workspace.read() as registry:
        assert registry.statistics("run") == []


@pytest.mark.parametrize(
    "mode",
    [
        {"method": "sequential-lora"},
        {"adapter": {"rank": 4, "alpha": 8, "composition": "isolated"}},
        {"adapter": {"rank": 4, "alpha": 8, "projection": "per-task"}},
    ],
    ids=["sequential-lora", "isolated", "per-task"],
)
def test_correctly_routed_request_is_answered_as_trained(
    run_job: RunJob, scores: Scores, workspace: Workspace, mode: dict[str, object]
) -> None:
    run_job("colour", "shape", "size", options=RunOptions(measure_all=True), **mode)
    found = scores()
    right = 0
    for task in LABELS:
        as_trained = answered(workspace, found[3, task, "as_trained"])
        routed = answered(workspace, found[3, task, "routed"])
        for direct, routed_line in zip(as_trained, routed, strict=True):
            if routed_line["sent_to"] == task:
                right += 1
                assert routed_line["answer"] == direct["answer"]
        sent = [line["sent_to"] == task for line in routed]
        assert found[3, task, "routed"].parts["routing_accuracy"] == sum(sent) / len(sent)
    assert right >= 16  # of 24; chance is 8


def test_wrongly_routed_request_uses_the_cells_and_head_of_the_predicted_task(
    run_job: RunJob, scores: Scores, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    route_all_texts_to(monkeypatch, "shape")
    run_job("shape", "colour")
    routed = scores()[2, "colour", "routed"]
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    shape, colour = loaded.eval_tasks
    loaded.method.activate(loaded.acting("shape"))
    learner = kind_of(shape.spec).learner(loaded.model, loaded.history[0].head)
    with torch.no_grad():
        expected = kind_of(shape.spec).answers(
            shape.spec, learner, loaded.base.tokenizer, colour.examples, shape.max_length
        )
    found = answered(workspace, routed)
    assert [line["answer"] for line in found] == expected
    assert {line["sent_to"] for line in found} == {"shape"}
    assert set(expected) <= {"green", "round"}
    assert (routed.score, routed.parts["routing_accuracy"]) == (0.0, 0.0)


def test_without_heads_the_prompt_is_kept_and_the_guessed_cells_answer(
    workspace: Workspace,
    write_curriculum: Callable[..., Path],
    tiny_causal_lm: Path,
    tmp_path: Path,
    scores: Scores,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def declare(name: str, **fields: object) -> Path:
        rows = [json.dumps({"q": w}) + "\n" for w in ("red", "blue", "green", "wet")]
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            (tmp_path / name / f"{split}.jsonl").write_text("".join(rows))
        task = {"name": name, "kind": "generation", "source": {"local": name}, "allow_duplicates": True}
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**task, **fields}))
        return file

    short = declare("short", prompt="it is {{ q }}", answer="wet", max_new_tokens=1)
    own_prompt = {"prompt": "is it small {{ q }}"}
    long = declare("long", prompt="is it {{ q }}", answer="dry small", max_new_tokens=4, train=own_prompt)
    register_tasks(workspace, [short, long])
    route_all_texts_to(monkeypatch, "short")
    curriculum = write_curriculum(
        "short",
        "long",
        model={"path": str(tiny_causal_lm)},
        masks={"strategy": "random", "density": 0.4},
        train={"epochs": 40, "batch_size": 4, "lr": 0.05, "max_length": 16},
        eval={"batch_size": 4, "views": ALL},
    )
    run_curriculum(workspace, load_curriculum(curriculum), "run", RunOptions(), SilentProgress())
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    loaded.method.activate(loaded.acting("short"))
    eval_task = loaded.eval_tasks[1]
    with torch.no_grad():
        expected = kind_of(eval_task.spec).answers(
            eval_task.spec, loaded.model, loaded.base.tokenizer, eval_task.examples, eval_task.max_length
        )
    routed = answered(workspace, scores()[2, "long", "routed"])
    assert [line["answer"] for line in routed] == expected
    assert expected != [line["answer"] for line in answered(workspace, scores()[2, "long", "as_trained"])]


def test_routing_does_not_change_training(run_job: RunJob, workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    other.create()
    with_it = run_job("colour", "shape")
    without = run_job("colour", "shape", views=["as_trained", "current"], into=other)
    assert [s.artifact for s in with_it.stages] == [s.artifact for s in without.stages]


def test_interrupted_run_resumes_to_the_same_routed_scores(
    run_job: RunJob, scores: Scores, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job("colour", "shape", name="whole")
    uninterrupted = dict(scores("whole"))
    real, calls = stage_training.run_job, []

    def fail_in_the_second_stage(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage_training, "run_job", fail_in_the_second_stage)
        with pytest.raises(KeyboardInterrupt):
            run_job("colour", "shape", name="broken", options=RunOptions(measure_all=True))
    monkeypatch.setattr(routing_statistics, "prepare_training", lambda *_: pytest.fail("gathered again"))
    run_job("colour", "shape", name="broken", options=RunOptions(measure_all=True))
    for key, e in scores("broken").items():
        assert (e.source, e.outcomes, e.parts) == (
            "measured",
            uninterrupted[key].outcomes,
            uninterrupted[key].parts,
        )
        assert e.input_digest == uninterrupted[key].input_digest
    with workspace.read() as registry:
        assert registry.statistics("broken") == registry.statistics("whole")


def test_missing_statistics_are_gathered_when_a_run_resumes(
    run_job: RunJob, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_with_router_statistics", lambda _, state, *__: (state, []))
        patch.setattr(loop.Evaluator, "_routed_row", lambda *_: [])
        run_job("colour", name="late")
    run_job("colour", "shape", name="late")
    run_job("colour", "shape", name="whole")
    with workspace.read() as registry:
        assert registry.statistics("late") == registry.statistics("whole")
        assert [of.task for of in registry.statistics("late")] == ["colour", "shape"]


def test_damaged_statistics_are_detected_when_a_run_resumes(run_job: RunJob, workspace: Workspace) -> None:
    run_job("colour")
    with workspace.read() as registry:
        (gathered,) = registry.statistics("run")
    workspace.artifacts.path(gathered.artifact, "safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtifactDamaged):
        run_job("colour", "shape")


def test_statistics_use_a_limited_number_of_examples(
    run_job: RunJob, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing_statistics, "EXAMPLES", 5)
    run_job("colour")
    with workspace.read() as registry:
        (gathered,) = registry.statistics("run")
    assert gathered.n == 5


def test_untrained_task_has_no_routed_score(run_job: RunJob, scores: Scores) -> None:
    upper = RunOptions(upper_triangle=True)
    run_job("colour", "shape", options=upper)
    assert (1, "shape", "current") in scores()
    assert (1, "shape", "routed") not in scores()
    before = scores()
    run_job("colour", "shape", options=upper)  # no score is missing
    assert scores() == before


def test_requests_are_not_routed_to_a_retired_task(
    run_job: RunJob, scores: Scores, workspace: Workspace
) -> None:
    run_job("colour", "shape")
    with workspace.open() as registry:
        registry.retire("run", "colour")
    run_job("colour", "shape", "size")
    for task in LABELS:
        sent = {line["sent_to"] for line in answered(workspace, scores()[3, task, "routed"])}
        assert sent <= {"shape", "size"}
    assert scores()[3, "colour", "routed"].parts["routing_accuracy"] == 0.0


def candidate(**changes: Any) -> Candidate:
    """A candidate task of the router, built by hand."""
    torch.manual_seed(0)
    statistics = routing_statistics.StoredStatistics(
        TaskStatistics.of(torch.rand(3, 2).numpy()), "statistics"
    )
    spec = type("Spec", (), {"to_record": lambda _: {"labels": ["red", "blue"]}})()
    eval_task: Any = type("Question", (), {"label": "colour", "spec": spec})()
    return replace(Candidate(eval_task, nn.Linear(2, 2), (), "acting", statistics), **changes)


@pytest.mark.parametrize("changed", ["statistics", "adapter", "head", "spec", "order"])
def test_routed_score_digest_covers_every_candidate_task(changed: str) -> None:
    one, other = candidate(), candidate(acting="another's")
    spec = type("Spec", (), {"to_record": lambda _: {"labels": ["green"]}})()
    changed_candidates = {
        "statistics": [one, replace(other, statistics=replace(other.statistics, artifact="changed"))],
        "adapter": [one, replace(other, acting="changed")],
        "head": [one, replace(other, head=nn.Linear(2, 2))],
        "spec": [one, replace(other, eval_task=type("Question", (), {"label": "colour", "spec": spec})())],
        "order": [other, one],
    }

    def of(tasks: Sequence[Candidate], own: str = "colour") -> str:
        unused: Any = None
        return Routed(unused, unused, unused, unused, tasks, unused).inputs_digest(own)

    assert of([one, other]) == of([candidate(), candidate(acting="another's")])
    assert of(changed_candidates[changed]) != of([one, other])
    assert of([one, other], own="shape") != of([one, other])
