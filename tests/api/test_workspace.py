"""Workspaces, tasks with data in memory, and runs, through the Python API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from transformers import TrainerCallback

import lori_cl as cl
from lori_cl.errors import DataError, InputError, RegressionFound, SpecError, UnknownRun
from lori_cl.registry import find_garbage

from .conftest import rows

Task = Callable[..., cl.Classification]
Plan = Callable[..., cl.Curriculum]


def test_a_run_over_data_in_memory_is_evaluated_reported_and_verified(
    ws: cl.Workspace, task: Task, plan: Plan, tmp_path: Path
) -> None:
    added = ws.add_task(task("a"), task("b"))
    assert [each.is_new for each in added] == [True, True]
    run = ws.run(plan("a", "b"), name="weekly", progress=False)
    assert (run.status, run.tasks) == ("done", ("a", "b"))
    table = run.matrix("current").to_pandas()
    assert (table.shape, list(table.columns)) == ((3, 2), ["a", "b"])
    assert run.metrics("as_trained").bwt == 0.0
    assert "<table" in run.matrix("current")._repr_html_()
    assert "<table" in run._repr_html_()
    assert b"<html" in run.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == run.report(format="html")
    assert "score chain" in {check.check for check in run.verify()}
    assert list(ws.runs().to_pandas().index) == ["weekly"]
    assert "weekly" in ws.runs()._repr_html_()


def test_the_same_data_in_any_container_is_the_same_version(ws: cl.Workspace, task: Task) -> None:
    train, held_out = rows(12, "a"), rows(6, "a", 100)
    ws.add_task(task("a", train, held_out))
    for convert in (pd.DataFrame, datasets.Dataset.from_list, tuple):
        (again,) = ws.add_task(task("a", convert(train), convert(held_out)))
        assert (again.is_new, again.task.version) == (False, 1)


def test_other_data_under_the_same_name_is_a_new_version(ws: cl.Workspace, task: Task) -> None:
    ws.add_task(task("a"))
    (changed,) = ws.add_task(task("a", rows(10, "a")))
    assert (changed.is_new, changed.task.label) == (True, "a@2")


def test_rows_of_a_task_in_memory_are_no_garbage_and_verify_finds_a_changed_one(
    ws: cl.Workspace, task: Task, plan: Plan
) -> None:
    ws.add_task(task("a"), task("b"))
    run = ws.run(plan("a"), name="run", progress=False)
    with ws.storage.read() as registry:
        assert [each.path.name for each in find_garbage(ws.storage, registry)] == []
    split = ws.task("b").spec["train"]["split"]
    file = ws.storage.artifacts.path(split, "jsonl")
    file.write_bytes(file.read_bytes().replace(b"dry", b"wet"))
    with pytest.raises(cl.LoriError, match=split[:16]):
        run.extend("b", progress=False)


def test_extend_trains_only_the_new_task(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    ws.add_task(task("a"), task("b"))
    run = ws.run(plan("a"), name="run", progress=False)
    first = run.stages
    run = run.extend("b", progress=False)
    assert run.stages[:1] == first
    assert [stage.task for stage in run.stages] == ["a", "b"]


def test_predict_load_and_export_use_the_trained_task(
    ws: cl.Workspace, task: Task, plan: Plan, tmp_path: Path
) -> None:
    ws.add_task(task("a"))
    run = ws.run(plan("a"), name="run", progress=False)
    by_text, by_row = run.predict(["it is wet"], task="a"), run.predict([{"text": "it is wet", "task": "a"}])
    assert by_text == by_row
    assert by_text[0].answer in {"wet", "dry"}
    model, tokenizer = run.load("as_trained", task="a")
    assert model(**tokenizer("it is wet", return_tensors="pt"))[0].shape[0] == 1
    assert run.export("a", tmp_path / "lora").largest_difference == 0.0
    with pytest.raises(InputError, match="view='as_trained', task="):
        run.load("as_trained")
    with pytest.raises(InputError, match="not both"):
        run.predict(["it is wet"], task="a", route=True)


def test_route_capacity_retire_and_receipt(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    ws.add_task(task("a"), task("b"))
    run = ws.run(plan("a", "b"), name="run", progress=False)
    assert {each.task for each in run.route(progress=False).tasks} == {"a", "b"}
    assert {p.task for p in run.predict(["a it is wet"], route=True)} <= {"a", "b"}
    free = run.capacity().free  # type: ignore[union-attr]
    run.retire_task("b")
    assert run.capacity().free > free  # type: ignore[union-attr]
    assert json.loads(run.receipt())["run"] == "run"


def test_trainer_callbacks_see_every_step_of_a_stage(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    steps: list[int] = []

    class Count(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            steps.append(state.global_step)

    ws.add_task(task("a"))
    ws.run(plan("a"), name="run", progress=False, callbacks=[Count()])
    assert steps == [1, 2, 3]


def test_a_gate_holds_a_stage_back(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    class Strict(cl.Gate):
        def drops(self, *_: Any) -> list[str]:
            return ["'a' fell"]

    ws.add_task(task("a"), task("b"))
    ws.run(plan("a"), name="run", progress=False)
    with pytest.raises(RegressionFound, match="stage 2/2 b: in the view current, 'a' fell"):
        ws.run(plan("a", "b"), name="run", progress=False, gate=Strict(1.0))
    assert len(ws.get_run("run").stages) == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train": []}, DataError, "a, train: there are no examples"),
        ({"train": ["text"]}, DataError, "a, train, row 1: expected a dict, found str"),
        (
            {"train": [{"text": "x", "label": object()}]},
            DataError,
            "row 1, column 'label': cannot store",
        ),
        (
            {"train": [{"text": "x", "label": 1}]},
            DataError,
            "column 'label' holds 1, which is no text",
        ),
        ({"metric": "bleu"}, SpecError, "Classification 'a': 'metric' cannot be 'bleu'"),
        ({"metrik": "f1"}, SpecError, r"^Classification 'a': 'metrik' .*Did you mean 'metric'"),
    ],
)
def test_an_invalid_task_in_memory_is_one_line(
    task: Task, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        task("a", **change)


def test_an_error_in_a_row_names_the_task_the_split_and_the_line(ws: cl.Workspace, task: Task) -> None:
    held_out = [*rows(3, "a", 100), {"text": "x", "label": "odd"}]
    with pytest.raises(DataError, match=r"^a/test.jsonl, line 4: .*'odd'"):
        ws.add_task(task("a", eval=held_out, labels=["wet", "dry"]))
    assert ws.tasks() == []


def test_numpy_values_and_missing_numbers_are_stored(ws: cl.Workspace) -> None:
    frame = pd.DataFrame(rows(8, "a")).assign(weight=[1.5, np.nan] * 4, day=pd.Timestamp("2026-01-02"))
    made = cl.Classification("a", train=frame, eval=rows(4, "a", 100))
    first, second = (json.loads(line) for line in made.train.splitlines()[:2])
    assert (first["weight"], second["weight"], first["day"]) == (1.5, None, "2026-01-02T00:00:00")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cl.LoRI(rnk=3), "^LoRI: 'rnk' .*'rank'"),
        (lambda: cl.LoRI(density=2.0), "LoRI: 'density' should be"),
        (lambda: cl.LoRI(freeze=False), "masks.overlap: allow"),
        (lambda: cl.SequentialLoRA(density=0.1), "^SequentialLoRA: 'density' "),
        (lambda: cl.Curriculum(model="m", tasks=[]), "Curriculum: 'tasks'"),
        (
            lambda: cl.Curriculum(model="m", tasks=["a"], method=cl.LoRI(density=0.2), masks={}),
            "'masks' is given twice",
        ),
    ],
)
def test_invalid_settings_are_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_a_curriculum_file_and_its_object_are_equal(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("name: plan\nmodel: {path: m}\ntasks: [a]\nmasks: {density: 0.2}\n")
    made = cl.Curriculum(name="plan", model="m", tasks=["a"], method=cl.LoRI(density=0.2))
    assert cl.Curriculum.from_file(file).to_record() == made.to_record()
    assert cl.Curriculum.from_file(file, ["masks.density=0.3"]).masks.density == 0.3


def test_unknown_names_are_named_with_what_exists(ws: cl.Workspace, task: Task, plan: Plan) -> None:
    ws.add_task(task("a"))
    run = ws.run(plan("a"), name="run", progress=False)
    with pytest.raises(UnknownRun, match="Did you mean 'run'"):
        ws.get_run("rnu")
    with pytest.raises(InputError, match=r"under view 'curent' \(available: as_trained, current\)"):
        run.matrix("curent")
    with pytest.raises(InputError, match=r"unknown report format 'htm' \(available: .*Did you mean 'html'"):
        run.report(format="htm")
    with pytest.raises(AttributeError, match="no metric 'bwd'"):
        run.metrics("current").bwd  # noqa: B018 (the access is the test)


def test_a_fraction_of_the_rows_can_be_the_eval_set(
    ws: cl.Workspace, task: Task, plan: Callable[..., cl.Curriculum]
) -> None:
    made = task("a", train=rows(40, "a"), eval=0.25)
    [added] = ws.add_task(made)
    assert 2 <= added.task.eval_set.n <= 20
    [again] = ws.add_task(task("a", train=rows(40, "a"), eval=0.25))
    assert not again.is_new
    [stage] = ws.run(plan("a"), name="run", progress=False).stages
    assert stage.n_train == 40 - added.task.eval_set.n


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1.5])
def test_a_fraction_outside_0_and_1_is_refused(task: Task, fraction: float) -> None:
    with pytest.raises(SpecError, match=r"^Classification 'a': 'eval\.fraction'"):
        task("a", eval=fraction)
