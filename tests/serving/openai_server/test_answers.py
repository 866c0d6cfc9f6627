"""The server's answers are those of `predict`, complete or streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Workspace
from lori_cl.serving.openai_server.app import Limits, create_app
from lori_cl.serving.openai_server.engine import Engine
from lori_cl.serving.requests import read_routed_rows, read_rows
from lori_cl.serving.route import load_router

Client = Callable[..., TestClient]
TEXTS = ["it is wet it", "it is dry is it", "it is flat it", "it is small it"]


def predicted(engine: Engine, task: str, *texts: str) -> list[str]:
    rows = read_rows(engine.loaded, texts, task, plain=True)
    return [each.answer for each in engine.predictor.answer(rows)]


def chat(client: TestClient, model: str, text: str, **parameters: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **parameters}
    return client.post("/v1/chat/completions", json=body)


def events(response: Any) -> list[Any]:
    """Return the objects of a streamed response, which ends with [DONE]."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_each_task_is_a_model_with_its_score(client: Client, served_run: LoadedRun) -> None:
    listed = client().get("/v1/models").json()
    entries = {entry["id"]: entry["lori_cl"] for entry in listed["data"]}
    assert list(entries) == ["say", "turn", "pick", "auto"]
    with served_run.workspace.read() as registry:
        scores = {(e.task, e.stage, e.view): e for e in registry.evaluations("run")}
    score = entries["turn"]["score"]
    assert (score["metric"], score["value"]) == ("exact_match", scores["turn", 2, "as_trained"].score)
    assert entries["auto"]["tasks"]["say"]["score"]["value"] == scores["say", 3, "routed"].score
    assert client().get("/v1/models/turn").json()["lori_cl"] == entries["turn"]


def test_chat_answers_are_those_of_predict(client: Client, engine: Engine) -> None:
    for task in ("say", "turn"):
        found = chat(client(), task, TEXTS[0]).json()
        assert found["object"] == "chat.completion"
        assert found["model"] == task
        (choice,) = found["choices"]
        assert choice["message"] == {"role": "assistant", "content": predicted(engine, task, TEXTS[0])[0]}
        assert found["usage"]["prompt_tokens"] == 4
        assert found["usage"]["total_tokens"] == 4 + found["usage"]["completion_tokens"]


def test_several_prompts_are_answered_in_order(client: Client, engine: Engine) -> None:
    found = client().post("/v1/completions", json={"model": "say", "prompt": TEXTS}).json()
    assert found["object"] == "text_completion"
    assert [choice["text"] for choice in found["choices"]] == predicted(engine, "say", *TEXTS)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]


def test_streamed_answer_is_the_complete_answer_in_several_chunks(client: Client) -> None:
    complete = chat(client(), "say", TEXTS[0]).json()
    response = chat(client(), "say", TEXTS[0], stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *chunks, last, usage = events(response)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    assert len(texts) >= 3
    assert "".join(texts) == complete["choices"][0]["message"]["content"]
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == complete["choices"][0]["finish_reason"]
    assert (usage["choices"], usage["usage"]) == ([], complete["usage"])


def test_several_prompts_are_streamed_by_their_index(client: Client, engine: Engine) -> None:
    body = {"model": "turn", "prompt": TEXTS[:2], "stream": True}
    texts = ["", ""]
    for chunk in events(client().post("/v1/completions", json=body)):
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == predicted(engine, "turn", *TEXTS[:2])


def test_choice_is_the_answer_of_a_multiple_choice_task(client: Client) -> None:
    response = chat(client(), "pick", json.dumps({"q": "it is wet it"}), stream=True)
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in events(response)]
    assert "".join(texts) in {"red", "blue"}


def test_auto_answers_with_the_predicted_task(client: Client, engine: Engine) -> None:
    rows = read_routed_rows(engine.loaded, load_router(engine.loaded), TEXTS, plain=True)
    found = [chat(client(), "auto", text).json() for text in TEXTS]
    assert [each["model"] for each in found] == [row.task for row in rows]
    answers = [each["choices"][0]["message"]["content"] for each in found]
    assert answers == [predicted(engine, row.task, text)[0] for row, text in zip(rows, TEXTS, strict=True)]


def test_max_tokens_and_stop_end_an_answer(client: Client) -> None:
    full = chat(client(), "say", TEXTS[0], temperature=0).json()["choices"][0]
    words = full["message"]["content"].split()
    assert len(words) >= 3
    short = chat(client(), "say", TEXTS[0], max_tokens=2).json()
    assert short["choices"][0]["message"]["content"] == " ".join(words[:2])
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 2
    for streamed in (False, True):
        response = chat(client(), "say", TEXTS[0], stop=[words[2]], stream=streamed)
        if streamed:
            text = "".join(c["choices"][0]["delta"].get("content", "") for c in events(response))
        else:
            text = response.json()["choices"][0]["message"]["content"]
            assert response.json()["choices"][0]["finish_reason"] == "stop"
        assert text == " ".join(words[:2])


def test_sampled_answers_depend_on_the_seed_only(client: Client) -> None:
    def sample(seed: int | None) -> str:
        body = {"temperature": 2.0, "max_tokens": 12} | ({} if seed is None else {"seed": seed})
        return chat(client(), "say", TEXTS[0], **body).json()["choices"][0]["message"]["content"]

    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(4)}) > 1
    assert len({sample(None) for _ in range(6)}) > 1


def test_label_and_its_probabilities_are_the_answer_of_a_classification_task(trained: Workspace) -> None:
    with trained.read() as registry:
        run = load_run(trained, registry, "run")
    text, engine = "it is wet red dry", Engine(run, 20)
    (expected,) = engine.predictor.answer(read_rows(run, [text], "a", plain=True))
    with TestClient(create_app(engine, Limits())) as client:
        (choice,) = chat(client, "a", text, max_tokens=1, stop=["r"]).json()["choices"]
    assert choice["message"]["content"] == expected.answer
    assert choice["scores"] == pytest.approx(expected.scores)
