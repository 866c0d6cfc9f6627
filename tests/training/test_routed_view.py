"""View `routed`: the task is guessed, and the guessed task answers."""

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
from lori_cl.registry import Evaluation, Run, Workspace
from lori_cl.routing import Router, TaskStatistics
from lori_cl.spec import load_curriculum
from lori_cl.tasks import kind_of
from lori_cl.training import (
    RunOptions,
    SilentObserver,
    enrol,
    gathering,
    learning,
    load_run,
    run_curriculum,
    sequence,
)
from lori_cl.training.routed import Candidate, Routed

Scores = Callable[..., dict[tuple[int, str, str], Evaluation]]
Teach = Callable[..., Run]

ALL = ["as_trained", "current", "routed"]
LABELS = {"colour": ("red", "blue"), "shape": ("green", "round"), "size": ("square", "flat")}
"""Labels stand in the texts, so that a text says of which task it is."""


@pytest.fixture
def teach(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Teach:
    """Teach some of the tasks above, scored under these views."""

    def run(
        *tasks: str,
        name: str = "run",
        views: Sequence[str] = ALL,
        options: RunOptions | None = None,
        into: Workspace = workspace,
        **fields: object,
    ) -> Run:
        enrol(into, [write_task(task, LABELS[task], n=24) for task in tasks])
        curriculum = write_curriculum(*tasks, eval={"batch_size": 4, "views": list(views)}, **fields)
        return run_curriculum(
            into, load_curriculum(curriculum), name, options or RunOptions(), SilentObserver()
        )

    return run


def answered(workspace: Workspace, evaluation: Evaluation) -> list[dict[str, Any]]:
    lines = workspace.artifacts.get(evaluation.answers, "jsonl").decode().splitlines()
    return [json.loads(line) for line in lines]


def send_everything_to(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setattr(Router, "route", lambda _, features: [task] * len(features))


def test_every_learned_task_is_routed_after_every_stage(teach: Teach, scores: Scores) -> None:
    teach("colour", "shape")
    routed = {key: e for key, e in scores().items() if key[2] == "routed"}
    assert routed.keys() == {(i, t, "routed") for i, t in [(1, "colour"), (2, "colour"), (2, "shape")]}
    assert all(0 <= e.parts["routing_accuracy"] <= 1 for e in routed.values())


def test_a_run_that_does_not_ask_for_it_gathers_nothing(teach: Teach, workspace: Workspace) -> None:
    teach("colour", views=["as_trained"])
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
def test_what_is_taken_for_its_own_task_is_answered_as_trained(
    teach: Teach, scores: Scores, workspace: Workspace, mode: dict[str, object]
) -> None:
    teach("colour", "shape", "size", options=RunOptions(measure_all=True), **mode)
    found = scores()
    right = 0
    for task in LABELS:
        as_trained = answered(workspace, found[3, task, "as_trained"])
        routed = answered(workspace, found[3, task, "routed"])
        for told, guessed in zip(as_trained, routed, strict=True):
            if guessed["sent_to"] == task:
                right += 1
                assert guessed["answer"] == told["answer"]
        sent = [line["sent_to"] == task for line in routed]
        assert found[3, task, "routed"].parts["routing_accuracy"] == sum(sent) / len(sent)
    assert right >= 16  # of 24; 8 would be chance


def test_a_wrong_guess_is_answered_by_the_guessed_tasks_cells_and_head(
    teach: Teach, scores: Scores, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_everything_to(monkeypatch, "shape")
    teach("shape", "colour")
    routed = scores()[2, "colour", "routed"]
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    shape, colour = loaded.questions
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


def test_without_heads_the_question_stays_and_the_guessed_tasks_cells_answer_it(
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
    enrol(workspace, [short, long])
    send_everything_to(monkeypatch, "short")
    curriculum = write_curriculum(
        "short",
        "long",
        model={"path": str(tiny_causal_lm)},
        masks={"strategy": "random", "density": 0.4},
        train={"epochs": 40, "batch_size": 4, "lr": 0.05, "max_length": 16},
        eval={"batch_size": 4, "views": ALL},
    )
    run_curriculum(workspace, load_curriculum(curriculum), "run", RunOptions(), SilentObserver())
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, "run")
    loaded.method.activate(loaded.acting("short"))
    question = loaded.questions[1]
    with torch.no_grad():
        expected = kind_of(question.spec).answers(
            question.spec, loaded.model, loaded.base.tokenizer, question.examples, question.max_length
        )
    routed = answered(workspace, scores()[2, "long", "routed"])
    assert [line["answer"] for line in routed] == expected
    assert expected != [line["answer"] for line in answered(workspace, scores()[2, "long", "as_trained"])]


def test_routing_takes_nothing_of_what_is_learned(teach: Teach, workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    other.create()
    with_it = teach("colour", "shape")
    without = teach("colour", "shape", views=["as_trained", "current"], into=other)
    assert [s.artifact for s in with_it.stages] == [s.artifact for s in without.stages]


def test_an_interrupted_run_resumes_to_the_same_routed_scores(
    teach: Teach, scores: Scores, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach("colour", "shape", name="whole")
    whole = dict(scores("whole"))
    real, calls = learning.teach, []

    def die_in_the_second_stage(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "teach", die_in_the_second_stage)
        with pytest.raises(KeyboardInterrupt):
            teach("colour", "shape", name="broken", options=RunOptions(measure_all=True))
    monkeypatch.setattr(gathering, "prepare_training", lambda *_: pytest.fail("gathered again"))
    teach("colour", "shape", name="broken", options=RunOptions(measure_all=True))
    for key, e in scores("broken").items():
        assert (e.source, e.outcomes, e.parts) == ("measured", whole[key].outcomes, whole[key].parts)
        assert e.input_digest == whole[key].input_digest
    with workspace.read() as registry:
        assert registry.statistics("broken") == registry.statistics("whole")


def test_statistics_that_were_never_gathered_are_gathered_when_a_run_goes_on(
    teach: Teach, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "_told_apart", lambda _, memory, *__: (memory, [], {}))
        patch.setattr(sequence.Examiner, "_routed_row", lambda *_: [])
        teach("colour", name="late")
    teach("colour", "shape", name="late")
    teach("colour", "shape", name="whole")
    with workspace.read() as registry:
        assert registry.statistics("late") == registry.statistics("whole")
        assert [of.task for of in registry.statistics("late")] == ["colour", "shape"]


def test_damaged_statistics_are_found_when_a_run_goes_on(teach: Teach, workspace: Workspace) -> None:
    teach("colour")
    with workspace.read() as registry:
        (gathered,) = registry.statistics("run")
    workspace.artifacts.path(gathered.artifact, "safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtifactDamaged):
        teach("colour", "shape")


def test_statistics_are_taken_over_a_limited_number_of_examples(
    teach: Teach, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "EXAMPLES", 5)
    teach("colour")
    with workspace.read() as registry:
        (gathered,) = registry.statistics("run")
    assert gathered.n == 5


def test_a_task_still_to_come_has_no_routed_score(teach: Teach, scores: Scores) -> None:
    upper = RunOptions(upper_triangle=True)
    teach("colour", "shape", options=upper)
    assert (1, "shape", "current") in scores()
    assert (1, "shape", "routed") not in scores()
    before = scores()
    teach("colour", "shape", options=upper)  # there is nothing left to fill in
    assert scores() == before


def test_a_retired_task_is_no_longer_guessed(teach: Teach, scores: Scores, workspace: Workspace) -> None:
    teach("colour", "shape")
    with workspace.open() as registry:
        registry.retire("run", "colour")
    teach("colour", "shape", "size")
    for task in LABELS:
        sent = {line["sent_to"] for line in answered(workspace, scores()[3, task, "routed"])}
        assert sent <= {"shape", "size"}
    assert scores()[3, "colour", "routed"].parts["routing_accuracy"] == 0.0


def candidate(**changes: Any) -> Candidate:
    """A task that could answer, made by hand."""
    torch.manual_seed(0)
    statistics = gathering.Gathered(TaskStatistics.of(torch.rand(3, 2).numpy()), "statistics")
    spec = type("Spec", (), {"to_record": lambda _: {"labels": ["red", "blue"]}})()
    question: Any = type("Question", (), {"label": "colour", "spec": spec})()
    return replace(Candidate(question, nn.Linear(2, 2), (), "acting", statistics), **changes)


@pytest.mark.parametrize("changed", ["statistics", "adapter", "head", "spec", "order"])
def test_the_digest_of_a_routed_score_covers_every_task_that_could_answer(changed: str) -> None:
    one, other = candidate(), candidate(acting="another's")
    spec = type("Spec", (), {"to_record": lambda _: {"labels": ["green"]}})()
    among = {
        "statistics": [one, replace(other, gathered=replace(other.gathered, artifact="changed"))],
        "adapter": [one, replace(other, acting="changed")],
        "head": [one, replace(other, head=nn.Linear(2, 2))],
        "spec": [one, replace(other, question=type("Question", (), {"label": "colour", "spec": spec})())],
        "order": [other, one],
    }

    def of(tasks: Sequence[Candidate], own: str = "colour") -> str:
        unused: Any = None
        return Routed(unused, unused, unused, unused, tasks, unused).inputs_digest(own)

    assert of([one, other]) == of([candidate(), candidate(acting="another's")])
    assert of(among[changed]) != of([one, other])
    assert of([one, other], own="shape") != of([one, other])
