import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from lori_cl.errors import DataError, LoriError, UnknownTask
from lori_cl.registry import Run, Workspace
from lori_cl.serving.asked import Asked, read_rows, routed
from lori_cl.serving.predict import Predictor, answered
from lori_cl.serving.route import RouteOptions, guess, load_router, route_run
from lori_cl.spec import load_curriculum
from lori_cl.tasks import kind_of
from lori_cl.training import LoadedRun, RunOptions, SilentObserver, enrol, load_run, run_curriculum
from tests.tiny import tiny_curriculum

Learn = Callable[..., Run]
TEXTS = ["it is wet red dry", "is it flat blue small", "it is red", "is it large blue round dry"]


def loaded(workspace: Workspace, run: str = "run") -> LoadedRun:
    with workspace.read() as registry:
        return load_run(workspace, registry, run)


def asked(tasks: list[str]) -> list[Asked]:
    return [Asked({"text": text}, task, "row") for text, task in zip(TEXTS, tasks, strict=True)]


@pytest.mark.parametrize("projection", ["shared", "per-task"])
def test_rows_of_several_tasks_in_one_batch_answer_as_each_task_does_alone(
    learn: Learn, workspace: Workspace, projection: str
) -> None:
    adapter = {"rank": 4, "alpha": 8, "projection": projection}
    learn("a", "b", "c", adapter=adapter, train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16})
    predictor = Predictor(loaded(workspace))
    mixed = predictor.answer(asked(["a", "b", "c", "a"]))
    for position, task in enumerate(["a", "b", "c", "a"]):
        alone = predictor.answer(asked([task] * 4))[position]
        assert alone.task == mixed[position].task == task
        assert alone.answer == mixed[position].answer
        assert mixed[position].scores == pytest.approx(alone.scores, abs=1e-5)


def test_a_task_is_answered_by_its_as_trained_cells_and_head(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b", train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16})
    run = loaded(workspace)
    with workspace.read() as registry:
        (stored,) = [
            e for e in registry.evaluations("run") if (e.stage, e.task, e.view) == (2, "a", "as_trained")
        ]
    question = run.questions[0]
    predictor = Predictor(run)
    answers = predictor.answer([Asked({"text": e.text}, "a", "row") for e in question.examples])
    right = [float(p.answer == e.target) for p, e in zip(answers, question.examples, strict=True)]
    assert tuple(right) == stored.outcomes


def test_the_scores_of_a_head_are_shares_of_its_labels(learn: Learn, workspace: Workspace) -> None:
    learn("a")
    predictor = Predictor(loaded(workspace))
    for found in predictor.answer(asked(["a"] * 4)):
        assert found.scores is not None
        assert set(found.scores) == {"red", "blue"}
        assert sum(found.scores.values()) == pytest.approx(1.0)
        assert max(found.scores, key=found.scores.__getitem__) == found.answer


def test_written_answers_of_tasks_that_decode_alike_share_a_batch(writing_run: LoadedRun) -> None:
    predictor = Predictor(writing_run)
    texts = ["it is wet it", "it is dry is it", "it is flat it", "it is small it"]
    tasks = ["say", "turn", "pick", "say"]

    def ask(rows: list[tuple[str, str]]) -> list[str]:
        return [p.answer for p in predictor.answer([Asked({"q": q}, t, "row") for q, t in rows])]

    batches = list(predictor._batches([Asked({"q": q}, t, "row") for q, t in zip(texts, tasks, strict=True)]))
    assert batches == [[0, 1, 3], [2]]
    mixed = ask(list(zip(texts, tasks, strict=True)))
    assert mixed == [ask([pair])[0] for pair in zip(texts, tasks, strict=True)]


def test_versions_of_a_task_in_one_batch_answer_as_each_does_alone(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_writing: Callable[..., None]
) -> None:
    declare_writing(
        "pick", ("red", "blue"), kind="multiple_choice", choices=["red", "blue"], answer_is="text"
    )
    file = tmp_path / "declared" / "pick.yaml"
    file.write_text(f"{file.read_text()}description: another version\n")
    enrol(workspace, [file])
    curriculum = tmp_path / "versions.yaml"
    curriculum.write_text(yaml.safe_dump(tiny_curriculum(tiny_causal_lm, ["pick@1", "pick@2"])))
    run_curriculum(workspace, load_curriculum(curriculum), "run", RunOptions(), SilentObserver())
    predictor = Predictor(loaded(workspace))
    rows = [Asked({"q": "it is wet"}, task, "row") for task in ("pick", "pick@2", "pick")]
    assert predictor.answer(rows) == [predictor.answer([row])[0] for row in rows]


def test_lines_are_objects_that_name_their_task_or_bare_texts(writing_run: LoadedRun) -> None:
    lines = ['{"q": "it is red", "task": "turn"}', "", "it is wet", ' {"q": "it", "task": null}']
    assert read_rows(writing_run, lines, "say") == [
        Asked({"q": "it is red", "task": "turn"}, "turn", "line 1", 0),
        Asked({"q": "it is wet"}, "say", "line 3", 2),
        Asked({"q": "it", "task": None}, "say", "line 4", 3),
    ]
    assert read_rows(writing_run, ['["a text"]'], "say", plain=True)[0].row == {"q": '["a text"]'}


def test_what_cannot_be_asked_is_said_in_one_line(writing_run: LoadedRun) -> None:
    with pytest.raises(DataError, match=r"line 1: task 'pick' reads several columns"):
        read_rows(writing_run, ["it is red"], "pick")
    with pytest.raises(DataError, match=r"line 2 names no task; give --task"):
        read_rows(writing_run, ['{"q": "it", "task": "say"}', "it is red"], None)
    with pytest.raises(DataError, match=r"line 2 begins as JSON does and is none: Expecting value at"):
        read_rows(writing_run, ['{"q": "it"}', '{"q": "it", "task":'], "say")
    with pytest.raises(UnknownTask, match=r"^run 'run' has not learned 'sy'. Did you mean 'say'"):
        read_rows(writing_run, ["it is red"], "sy")
    with pytest.raises(UnknownTask, match=r"^line 2: run 'run' has not learned 'sy'. Did you mean 'say'"):
        read_rows(writing_run, ["it is red", '{"q": "it", "task": "sy"}'], "say")
    with pytest.raises(DataError, match=r"^text 2 is empty"):
        read_rows(writing_run, ["it is red", " "], "say", plain=True)
    with pytest.raises(DataError, match=r"line 1.*'q' is undefined"):
        list(answered(Predictor(writing_run), read_rows(writing_run, ['{"p": "it"}'], "say"), 8))


def test_a_text_is_answered_by_the_task_it_looks_like(
    learn: Learn, workspace: Workspace, tmp_path: Path, write_task: Callable[..., Path]
) -> None:
    learn("a", "b", train={"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16})
    route_run(workspace, "run", RouteOptions(), SilentObserver())
    run = loaded(workspace)
    router = load_router(run)
    asked_for = routed(run, router, TEXTS, plain=True)
    assert [each.row for each in asked_for] == [{"text": text} for text in TEXTS]
    examples = [kind_of(run.questions[0].spec).asked(run.questions[0].spec, e.row, "") for e in asked_for]
    assert [each.task for each in asked_for] == guess(run, router, run.questions[0], examples)
    named = json.dumps({"words": "b reads what a does not", "task": "b"})
    assert [each.task for each in routed(run, router, [named, TEXTS[0]])] == ["b", asked_for[0].task]


def test_a_text_is_taken_for_no_task_that_cannot_read_it(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_writing: Callable[..., None]
) -> None:
    declare_writing("both", ("red", "blue"), prompt="{{ q }} {{ a }}", max_new_tokens=2)
    declare_writing("say", ("red", "blue"), max_new_tokens=2)
    curriculum = tmp_path / "curriculum.yaml"
    curriculum.write_text(yaml.safe_dump(tiny_curriculum(tiny_causal_lm, ["both", "say"])))
    run_curriculum(workspace, load_curriculum(curriculum), "run", RunOptions(), SilentObserver())
    route_run(workspace, "run", RouteOptions(), SilentObserver())
    run = loaded(workspace)
    router = load_router(run)
    lines = ["it is red", '{"q": "it is wet"}', '{"q": "it is wet", "a": "red"}']
    asked_for = routed(run, router, lines)
    assert [each.task for each in asked_for][:2] == ["say", "say"]
    assert asked_for[2].task in {"both", "say"}
    with pytest.raises(DataError, match=r"line 2: prompt: 'q' is undefined.*; nor can say read it"):
        routed(run, router, ["it is red", '{"p": "it is wet"}'])


def test_a_row_keeps_its_own_columns_beside_the_answer(writing_run: LoadedRun) -> None:
    rows = read_rows(writing_run, ['{"q": "it is red", "answer": "gold", "scores": 1}'], "say")
    (found,) = answered(Predictor(writing_run), rows, 8)
    assert found["input"] == {"q": "it is red", "answer": "gold", "scores": 1}
    assert found["task"] == "say"
    assert isinstance(found["answer"], str)


def test_nothing_to_answer_is_an_error(writing_run: LoadedRun) -> None:
    with pytest.raises(DataError, match="there is nothing to answer: every line is empty"):
        read_rows(writing_run, ["", " "], "say")
    with pytest.raises(DataError, match="text 2 is empty"):
        read_rows(writing_run, ["it is red", ""], "say", plain=True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "\\ud800"}', r"line 1: \\ud800 is half of a character"),
        (
            '{"text": "a", "text": "b"}',
            "line 1 begins as JSON does and is none: 'text' stands twice",
        ),
        ('{"text": NaN}', "line 1 begins as JSON does and is none: NaN is no number"),
        ('{"text": ' + "[" * 10**5, "line 1 begins as JSON does and is none: too large or too deep"),
        ('{ "text": ', "line 1 begins as JSON does and is none: Expecting value at column"),
        ('"a text', "line 1 begins as JSON does and is none: Unterminated string"),
        ('"a text"', "line 1 is a JSON string; give an object of columns"),
        ('["a text", "b"]', "line 1 is a JSON array; give an object of columns"),
        ('{"text": ["a"]}', "line 1: column 'text' holds no text"),
        ('{"text": "a", "task": ["a"]}', "line 1 names no task"),
        ('{"text": "a", "task": "../a"}', "has not learned '../a'"),
    ],
    ids=lambda value: value[:30],
)
def test_a_row_that_nobody_should_send_is_refused_with_its_line(
    learn: Learn, workspace: Workspace, line: str, said: str
) -> None:
    learn("a")
    run = loaded(workspace)
    with pytest.raises((DataError, UnknownTask), match=said):
        list(answered(Predictor(run), read_rows(run, [line], "a"), 4))


def test_a_row_that_is_too_long_is_named_by_its_line(writing_run: LoadedRun) -> None:
    short = replace(writing_run, questions=[replace(q, max_length=1) for q in writing_run.questions])
    rows = read_rows(short, ["", '{"q": "it is wet"}'], "pick")
    with pytest.raises(DataError, match=r"row 2: the answer has 1 tokens and train\.max_length is 1"):
        list(answered(Predictor(short), rows, 8))


def test_a_text_that_is_cut_says_so_and_is_counted(
    learn: Learn, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    learn("a", train={"epochs": 1, "batch_size": 4, "lr": 0.05, "max_length": 8})
    run = loaded(workspace)
    rows = read_rows(run, ["it is wet", "it is wet " * 4, "it is red " * 4], "a", plain=True)
    found = list(answered(Predictor(run), rows, 2))
    assert [record.get("truncated") for record in found] == [None, True, True]
    assert "2 of 3, the first is text 2" in caplog.text


def test_texts_that_fit_are_answered_without_a_warning(
    writing_run: LoadedRun, caplog: pytest.LogCaptureFixture
) -> None:
    list(answered(Predictor(writing_run), read_rows(writing_run, ["it is wet"], "say"), 8))
    assert not caplog.records


def test_sampled_answers_have_noise_of_their_own_and_it_is_the_same_again(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_writing: Callable[..., None]
) -> None:
    declare_writing("draw", ("red", "blue"), max_new_tokens=8, temperature=2.0)
    file = tmp_path / "drawing.yaml"
    file.write_text(yaml.safe_dump(tiny_curriculum(tiny_causal_lm, ["draw"])))
    run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentObserver())
    run = loaded(workspace)
    rows = read_rows(run, ["it is wet"] * 4, "draw")
    predictor = Predictor(run)
    once, again = ([each["answer"] for each in answered(predictor, rows, 8)] for _ in range(2))
    assert len(set(once)) > 1
    assert once == again


def test_a_head_whose_logits_are_no_numbers_answers_nothing(learn: Learn, workspace: Workspace) -> None:
    learn("a")
    run = loaded(workspace)
    head = run.history[0].head
    assert head is not None
    head.bias.data[0] = torch.nan
    with pytest.raises(LoriError, match="task 'a': the model's logits are not finite"):
        Predictor(run).answer(asked(["a"] * 4))
