"""Invalid requests are refused with a status code and an OpenAI error object."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lori_cl.serving.openai_server import app as app_file
from lori_cl.serving.openai_server.engine import Engine
from lori_cl.serving.openai_server.events import Prompt
from lori_cl.serving.openai_server.inputs import read_input
from lori_cl.serving.openai_server.request_body import Message
from lori_cl.spec import GenerationSpec

Client = Callable[..., TestClient]
JSON = {"Content-Type": "application/json; charset=utf-8"}
USER = [{"role": "user", "content": "it is wet"}]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (
            "chat/completions",
            {"model": "sya", "messages": USER},
            404,
            "not trained task 'sya'. Did you mean 'say'",
        ),
        ("chat/completions", {"messages": USER}, 400, "'model' is missing"),
        ("chat/completions", {"model": "say", "messages": []}, 400, "'messages' "),
        (
            "chat/completions",
            {"model": "say", "messages": USER, "n": 2},
            400,
            "'n' is 2, which is not supported",
        ),
        ("chat/completions", {"model": "say", "messages": USER, "top_p": 0.5}, 400, "'top_p' is 0.5"),
        ("chat/completions", {"model": "say", "messages": USER, "temperature": 3}, 400, "'temperature' "),
        ("chat/completions", {"model": "say", "messages": USER, "max_tokens": 0}, 400, "'max_tokens' "),
        ("chat/completions", {"model": "say", "messages": USER, "max_tokens": 21}, 400, "allows up to 20"),
        ("chat/completions", {"model": "say", "messages": USER * 2}, 400, "a conversation of 2 messages"),
        (
            "chat/completions",
            {"model": "pick", "messages": USER},
            400,
            "reads several columns; send",
        ),
        ("completions", {"model": "say", "prompt": ""}, 400, "the prompt is empty"),
        ("completions", {"model": "say", "prompt": [1, 2]}, 400, "'prompt"),
        ("completions", {"model": "say", "prompt": "it " * 500}, 400, "the prompt has 500 tokens"),
        ("completions", {"model": "say", "prompt": "it", "stop": [""]}, 400, "'stop"),
        ("completions", [], 400, "'the body'"),
        ("chats", {}, 404, "Not Found"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_invalid_request_is_refused(
    client: Client, path: str, body: Any, status: int, message: str, streamed: bool
) -> None:
    if isinstance(body, dict):
        body = {**body, "stream": streamed}
    response = client().post(f"/v1/{path}", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert message in error["message"]


def test_too_long_prompt_has_the_code_of_the_openai_api(client: Client) -> None:
    response = client().post("/v1/completions", json={"model": "say", "prompt": "it " * 500})
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_prompt_up_to_the_context_is_answered(client: Client, engine: Engine) -> None:
    longest = engine.loaded.base.context - 5  # max_new_tokens of the task
    for words, status in ((longest, 200), (longest + 1, 400)):
        response = client().post("/v1/completions", json={"model": "say", "prompt": "it " * words})
        assert response.status_code == status


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"model": NaN}', b'{"a": 1, "a": 2}', b"[" * 10**5])
def test_body_that_is_not_valid_json_is_refused(client: Client, content: bytes) -> None:
    connection = client()
    response = connection.post("/v1/completions", content=content, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("the body is not ")


def test_body_of_another_type_is_refused(client: Client) -> None:
    body = b'{"model": "say", "prompt": "it"}'
    for headers in ({}, {"Content-Type": "text/plain"}):
        response = client().post("/v1/completions", content=body, headers=headers)
        assert response.status_code == 415
    assert client().post("/v1/completions", content=body, headers=JSON).status_code == 200


def test_large_body_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_file, "MAX_BODY_BYTES", 1000)
    response = client().post("/v1/completions", json={"model": "say", "prompt": "it " * 1000})
    assert response.status_code == 413


def test_requests_need_the_api_key(client: Client) -> None:
    connection = client(api_key="secret")
    assert connection.get("/v1/models").status_code == 401
    assert connection.get("/v1/models", headers={"Authorization": "Bearer secre"}).status_code == 401
    assert connection.post("/v1/completions", json={}).json()["error"]["code"] == "invalid_api_key"
    assert connection.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert connection.get("/health").json()["status"] == "ok"


def test_too_many_waiting_prompts_are_refused(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    answer = Engine.answer

    def wait_first(self: Engine, prompts: Sequence[Prompt]) -> None:
        begun.set()
        assert go_on.wait(10)
        answer(self, prompts)

    monkeypatch.setattr(Engine, "answer", wait_first)
    connection = client(max_requests=1)
    body = {"model": "say", "prompt": "it is wet"}
    answered: list[int] = []

    def request() -> None:
        answered.append(connection.post("/v1/completions", json=body).status_code)

    running, waiting = threading.Thread(target=request), threading.Thread(target=request)
    running.start()
    assert begun.wait(10)
    waiting.start()
    deadline = time.monotonic() + 10
    while connection.get("/health").json()["waiting"] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    refused = connection.post("/v1/completions", json=body)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    go_on.set()
    running.join()
    waiting.join()
    assert answered == [200, 200]


def test_model_auto_without_a_router_names_the_command(client: Client, engine: Engine) -> None:
    router, why = engine.router, engine.why_no_router
    engine.router, engine.why_no_router = None, "gather them with: lori-cl route run"
    try:
        response = client().post("/v1/completions", json={"model": "auto", "prompt": "it"})
        listed = client().get("/v1/models").json()["data"]
    finally:
        engine.router, engine.why_no_router = router, why
    assert response.status_code == 404
    assert "lori-cl route run" in response.json()["error"]["message"]
    assert [entry["id"] for entry in listed] == ["say", "turn", "pick"]


def test_conversation_is_read_by_a_task_with_a_chat_template() -> None:
    fields = {"kind": "generation", "name": "t", "source": {"local": "t"}, "answer": "{{ a }}"}
    spec = GenerationSpec.model_validate({**fields, "prompt": "Say {{ q }}", "chat": True})
    messages = [
        Message(role="developer", content="be brief"),
        Message(role="user", content="one"),
        Message(role="assistant", content="two"),
        Message(role="user", content=[{"type": "text", "text": "three"}]),
    ]
    example = read_input(spec, "t", messages)
    assert example.turns == (
        ("system", "be brief"),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "Say three"),
    )


def test_conversation_is_the_column_of_a_task_that_reads_conversations() -> None:
    for data_format in ("messages", "sharegpt"):
        fields = {"kind": "generation", "name": "t", "source": {"local": "t"}, "format": data_format}
        spec = GenerationSpec.model_validate(fields)
        messages = [Message(role="system", content="be brief"), Message(role="user", content="[one]")]
        assert read_input(spec, "t", messages).turns == (("system", "be brief"), ("user", "[one]"))
        assert read_input(spec, "t", "[one]").turns == (("user", "[one]"),)
