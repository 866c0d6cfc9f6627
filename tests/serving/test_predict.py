import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from lori_cl.errors import DataError, LoriError, UnknownTask
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.predict import Predictor, predict_rows
from lori_cl.serving.requests import Request, read_routed_rows, read_rows
from lori_cl.serving.route import RouteOptions, load_router, predict_tasks, route_run
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks import kind_of
from lori_cl.training import RunOptions, run_curriculum
from tests.tiny import tiny_curriculum

TrainRun = Callable[..., Run]
TEXTS = ["it is wet red dry", "is it flat blue small", "it is red", "is it large blue round dry"]


def loaded(workspace: Workspace, run: str = "run") -> LoadedRun:
    with workspace.read() as registry:
        return load_run(workspace, registry, run)


def requests_for(tasks: list[str]) -> list[Request]:
    return [Request({"text": text}, task, "row") for text, task in zip(TEXTS, tasks, strict=True)]


@pytest.mark.parametrize("projection", ["shared", "per-task"])
def test_mixed_batch_gives_the_answers_of_single_task_batches(
    train_run: TrainRun, workspace: Workspace, projection: str
) -> None:
    adapter = {"rank": 4, "alpha": 8, "projection": projection}
    train_run(
        "a", "b", "c", adapter=adapter, train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16}
    )
    predictor = Predictor(loaded(workspace))
    mixed = predictor.answer(requests_for(["a", "b", "c", "a"]))
    for position, task in enumerate(["a", "b", "c", "a"]):
        alone = predictor.answer(requests_for([task] * 4))[position]
        assert alone.task == mixed[position].task == task
        assert alone.answer == mixed[position].answer
        assert mixed[position].scores == pytest.approx(alone.scores, abs=1e-5)


def test_predictions_use_the_as_trained_cells_and_head(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16})
    run = loaded(workspace)
    with workspace.read() as registry:
        (stored,) = [
            e for e in registry.evaluations("run") if (e.stage, e.task, e.view) == (2, "a", "as_trained")
        ]
    eval_task = run.eval_tasks[0]
    predictor = Predictor(run)
    answers = predictor.answer([Request({"text": e.text}, "a", "row") for e in eval_task.examples])
    correct = [float(p.answer == e.target) for p, e in zip(answers, eval_task.examples, strict=True)]
    assert tuple(correct) == stored.outcomes


def test_scores_of_a_head_are_probabilities_of_its_labels(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a")
    predictor = Predictor(loaded(workspace))
    for found in predictor.answer(requests_for(["a"] * 4)):
        assert found.scores is not None
        assert set(found.scores) == {"red", "blue"}
        assert sum(found.scores.values()) == pytest.approx(1.0)
        assert max(found.scores, key=found.scores.__getitem__) == found.answer


def test_generation_tasks_with_equal_decoding_settings_share_a_batch(generation_run: LoadedRun) -> None:
    predictor = Predictor(generation_run)
    texts = ["it is wet it", "it is dry is it", "it is flat it", "it is small it"]
    tasks = ["say", "turn", "pick", "say"]

    def answers_of(rows: list[tuple[str, str]]) -> list[str]:
        return [p.answer for p in predictor.answer([Request({"q": q}, t, "row") for q, t in rows])]

    rows = [Request({"q": q}, t, "row") for q, t in zip(texts, tasks, strict=True)]
    batches = list(predictor.batches([predictor.job_of(row) for row in rows]))
    assert batches == [[0, 1, 3], [2]]
    mixed = answers_of(list(zip(texts, tasks, strict=True)))
    assert mixed == [answers_of([pair])[0] for pair in zip(texts, tasks, strict=True)]


def test_mixed_batch_of_task_versions_gives_the_answers_of_single_rows(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_generation: Callable[..., None]
) -> None:
    declare_generation(
        "pick", ("red", "blue"), kind="multiple_choice", choices=["red", "blue"], answer_is="text"
    )
    file = tmp_path / "declared" / "pick.yaml"
    file.write_text(f"{file.read_text()}description: another version\n")
    register_tasks(workspace, [file])
    curriculum = tmp_path / "versions.yaml"
    curriculum.write_text(yaml.safe_dump(tiny_curriculum(tiny_causal_lm, ["pick@1", "pick@2"])))
    run_curriculum(workspace, load_curriculum(curriculum), "run", RunOptions(), SilentProgress())
    predictor = Predictor(loaded(workspace))
    rows = [Request({"q": "it is wet"}, task, "row") for task in ("pick", "pick@2", "pick")]
    assert predictor.answer(rows) == [predictor.answer([row])[0] for row in rows]


def test_input_line_is_an_object_or_a_plain_text(generation_run: LoadedRun) -> None:
    lines = ['{"q": "it is red", "task": "turn"}', "", "it is wet", ' {"q": "it", "task": null}']
    assert read_rows(generation_run, lines, "say") == [
        Request({"q": "it is red", "task": "turn"}, "turn", "line 1", 0),
        Request({"q": "it is wet"}, "say", "line 3", 2),
        Request({"q": "it", "task": None}, "say", "line 4", 3),
    ]
    assert read_rows(generation_run, ['["a text"]'], "say", plain=True)[0].row == {"q": '["a text"]'}


def test_invalid_request_is_a_one_line_error(generation_run: LoadedRun) -> None:
    with pytest.raises(DataError, match=r"line 1: task 'pick' reads several columns"):
        read_rows(generation_run, ["it is red"], "pick")
    with pytest.raises(DataError, match=r"give a JSON object with them, such as {\"q\": \"<q>\"}$"):
        read_rows(generation_run, ["it is red"], "pick")
    with pytest.raises(DataError, match=r"line 2 names no task; give --task"):
        read_rows(generation_run, ['{"q": "it", "task": "say"}', "it is red"], None)
    with pytest.raises(DataError, match=r"line 2 begins like JSON but is invalid: Expecting value at"):
        read_rows(generation_run, ['{"q": "it"}', '{"q": "it", "task":'], "say")
    with pytest.raises(UnknownTask, match=r"^run 'run' has not trained task 'sy'. Did you mean 'say'"):
        read_rows(generation_run, ["it is red"], "sy")
    with pytest.raises(
        UnknownTask, match=r"^line 2: run 'run' has not trained task 'sy'. Did you mean 'say'"
    ):
        read_rows(generation_run, ["it is red", '{"q": "it", "task": "sy"}'], "say")
    with pytest.raises(DataError, match=r"^text 2 is empty"):
        read_rows(generation_run, ["it is red", " "], "say", plain=True)
    with pytest.raises(DataError, match=r"line 1.*'q' is undefined"):
        list(predict_rows(Predictor(generation_run), read_rows(generation_run, ['{"p": "it"}'], "say"), 8))
    with pytest.raises(
        DataError, match=r"Columns: p. Give all columns of the task, such as {\"q\": \"<q>\"}$"
    ):
        list(predict_rows(Predictor(generation_run), read_rows(generation_run, ['{"p": "it"}'], "say"), 8))


def test_text_without_a_task_is_routed(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, write_task: Callable[..., Path]
) -> None:
    train_run("a", "b", train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16})
    route_run(workspace, "run", RouteOptions(), SilentProgress())
    run = loaded(workspace)
    router = load_router(run)
    requests = read_routed_rows(run, router, TEXTS, plain=True)
    assert [each.row for each in requests] == [{"text": text} for text in TEXTS]
    examples = [
        kind_of(run.eval_tasks[0].spec).input_example(run.eval_tasks[0].spec, e.row, "") for e in requests
    ]
    assert [each.task for each in requests] == predict_tasks(run, router, run.eval_tasks[0], examples)
    named = json.dumps({"words": "b reads what a does not", "task": "b"})
    assert [each.task for each in read_routed_rows(run, router, [named, TEXTS[0]])] == ["b", requests[0].task]


def test_text_is_not_routed_to_a_task_that_cannot_read_it(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_generation: Callable[..., None]
) -> None:
    declare_generation("both", ("red", "blue"), prompt="{{ q }} {{ a }}", max_new_tokens=2)
    declare_generation("say", ("red", "blue"), max_new_tokens=2)
    curriculum = tmp_path / "curriculum.yaml"
    curriculum.write_text(yaml.safe_dump(tiny_curriculum(tiny_causal_lm, ["both", "say"])))
    run_curriculum(workspace, load_curriculum(curriculum), "run", RunOptions(), SilentProgress())
    route_run(workspace, "run", RouteOptions(), SilentProgress())
    run = loaded(workspace)
    router = load_router(run)
    lines = ["it is red", '{"q": "it is wet"}', '{"q": "it is wet", "a": "red"}']
    requests = read_routed_rows(run, router, lines)
    assert [each.task for each in requests][:2] == ["say", "say"]
    assert requests[2].task in {"both", "say"}
    with pytest.raises(DataError, match=r"line 2: prompt: 'q' is undefined.*; say cannot read it either"):
        read_routed_rows(run, router, ["it is red", '{"p": "it is wet"}'])


def test_output_keeps_the_columns_of_the_input_row(generation_run: LoadedRun) -> None:
    rows = read_rows(generation_run, ['{"q": "it is red", "answer": "gold", "scores": 1}'], "say")
    (found,) = predict_rows(Predictor(generation_run), rows, 8)
    assert found["input"] == {"q": "it is red", "answer": "gold", "scores": 1}
    assert found["task"] == "say"
    assert isinstance(found["answer"], str)


def test_empty_input_is_an_error(generation_run: LoadedRun) -> None:
    with pytest.raises(DataError, match="nothing to predict: every line is empty"):
        read_rows(generation_run, ["", " "], "say")
    with pytest.raises(DataError, match="text 2 is empty"):
        read_rows(generation_run, ["it is red", ""], "say", plain=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "\\ud800"}', r"line 1: \\ud800 is half of a character"),
        (
            '{"text": "a", "text": "b"}',
            "line 1 begins like JSON but is invalid: duplicate key 'text'",
        ),
        ('{"text": NaN}', "line 1 begins like JSON but is invalid: NaN is not a finite number"),
        ('{"text": ' + "[" * 10**5, "line 1 begins like JSON but is invalid: too large or too deep"),
        ('{ "text": ', "line 1 begins like JSON but is invalid: Expecting value at column"),
        ('"a text', "line 1 begins like JSON but is invalid: Unterminated string"),
        ('"a text"', "line 1 is a JSON string; give an object of columns"),
        ('["a text", "b"]', "line 1 is a JSON array; give an object of columns"),
        ('{"text": ["a"]}', "line 1: column 'text' contains no text"),
        ('{"text": "a", "task": ["a"]}', "line 1 names no task"),
        ('{"text": "a", "task": "../a"}', "has not trained task '../a'"),
    ],
    ids=lambda value: value[:30],
)
def test_invalid_row_is_refused_with_its_line(trained: Workspace, line: str, message: str) -> None:
    run = loaded(trained)
    with pytest.raises((DataError, UnknownTask), match=message):
        list(predict_rows(Predictor(run), read_rows(run, [line], "a"), 4))


def test_error_about_a_row_that_is_too_long_names_its_line(generation_run: LoadedRun) -> None:
    short = replace(generation_run, eval_tasks=[replace(q, max_length=1) for q in generation_run.eval_tasks])
    rows = read_rows(short, ["", '{"q": "it is wet"}'], "pick")
    with pytest.raises(DataError, match=r"row 2: the answer has 1 tokens, but train\.max_length is 1"):
        list(predict_rows(Predictor(short), rows, 8))


def test_truncated_text_is_marked_and_counted(
    train_run: TrainRun, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    train_run("a", train={"epochs": 1, "batch_size": 4, "lr": 0.05, "max_length": 8})
    run = loaded(workspace)
    rows = read_rows(run, ["it is wet", "it is wet " * 4, "it is red " * 4], "a", plain=True)
    found = list(predict_rows(Predictor(run), rows, 2))
    assert [record.get("truncated") for record in found] == [None, True, True]
    assert "2 of 3, the first is text 2" in caplog.text


def test_texts_that_fit_cause_no_warning(generation_run: LoadedRun, caplog: pytest.LogCaptureFixture) -> None:
    list(predict_rows(Predictor(generation_run), read_rows(generation_run, ["it is wet"], "say"), 8))
    assert not caplog.records


def test_sampled_answers_differ_between_rows_and_are_reproducible(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_generation: Callable[..., None]
) -> None:
    declare_generation("draw", ("red", "blue"), max_new_tokens=8, temperature=2.0)
    file = tmp_path / "drawing.yaml"
    file.write_text(yaml.safe_dump(tiny_curriculum(tiny_causal_lm, ["draw"])))
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    run = loaded(workspace)
    rows = read_rows(run, ["it is wet"] * 4, "draw")
    predictor = Predictor(run)
    once, again = ([each["answer"] for each in predict_rows(predictor, rows, 8)] for _ in range(2))
    assert len(set(once)) > 1
    assert once == again


def test_head_with_non_finite_logits_is_an_error(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a")
    run = loaded(workspace)
    head = run.history[0].head
    assert head is not None
    head.bias.data[0] = torch.nan
    with pytest.raises(LoriError, match="task 'a': the model's logits are not finite"):
        Predictor(run).answer(requests_for(["a"] * 4))
