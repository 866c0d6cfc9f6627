"""A language model on a server that grades answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import DataError, InputError, ScoringFailed
from lori_cl.spec import GenerationSpec
from lori_cl.tasks import Example
from lori_cl.tasks.scorers import SCORERS, Grade, judge_client

from .judge_server import JudgeServer, completion, judge_server
from .task_files import generation

EXAMPLES = [
    Example(i, f"prompt {i}", f"target {i}", row=json.dumps({"topic": f"topic {i}"})) for i in range(3)
]
PROMPT = "About {{ topic }}: is '{{ completion }}' as good as '{{ target }}' for '{{ prompt_text }}'?"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setattr(judge_client, "FIRST_PAUSE_S", 0.0)
    with judge_server() as running:
        yield running


def task(server: JudgeServer | str, **judge: Any) -> GenerationSpec:
    url = server if isinstance(server, str) else server.url
    fields = {"url": url, "model": "grader", "prompt": PROMPT, **judge}
    spec = generation(metric="judge", judge=fields)
    assert isinstance(spec, GenerationSpec)
    return spec


def grade(spec: GenerationSpec, *answers: str, cache: Path | None = None) -> Grade:
    samples = [[answer] for answer in answers]
    return SCORERS["judge"].caching_in(cache).grade(spec, samples, EXAMPLES[: len(answers)])


def test_judge_reads_the_row_the_answer_the_target_and_the_prompt(server: JudgeServer) -> None:
    assert grade(task(server), "mine").outcomes.tolist() == [0.75]
    (request,) = server.requests
    assert request["model"] == "grader"
    assert request["temperature"] == 0
    text = request["messages"][0]["content"]
    assert text.startswith("About topic 0: is 'mine' as good as 'target 0' for 'prompt 0'?")
    assert 'Reply with JSON only: {"score": NUMBER}, where NUMBER is from 0 to 1.' in text


def test_grade_is_scaled_to_fractions(server: JudgeServer) -> None:
    server.grade = lambda text: '```json\n{"score": 7, "reason": "fair"}\n```'
    assert grade(task(server, scale=[1, 10]), "a").score == pytest.approx(6 / 9)


def test_pattern_finds_the_grade_in_a_text(server: JudgeServer) -> None:
    server.grade = lambda text: "I thought about it. Rating: [[4]]"
    spec = task(server, scale=[0, 5], score_pattern=r"\[\[(\d+)\]\]")
    assert grade(spec, "a").score == 0.8
    assert "JSON" not in server.requests[0]["messages"][0]["content"]


def test_equal_requests_are_sent_once(server: JudgeServer) -> None:
    spec = task(server, prompt="Grade {{ completion }}")
    assert grade(spec, "a", "a", "b").outcomes.tolist() == [0.75] * 3
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "failures",
    [
        [(429, "slow down")],
        [(500, ""), (503, "overloaded")],
        [(200, completion("no grade"))],
        [(200, completion('{"score": 2}')), (200, completion('{"score": true}'))],
        [(200, "<html>")],
        [(200, '{"choices": []}')],
    ],
)
def test_request_that_failed_for_now_is_repeated(server: JudgeServer, failures: list[Any]) -> None:
    server.script = list(failures)
    assert grade(task(server), "a").score == 0.75
    assert len(server.requests) == len(failures) + 1


def test_request_that_takes_too_long_is_repeated(server: JudgeServer) -> None:
    server.script = [0.5]
    assert grade(task(server, timeout_s=0.1), "a").score == 0.75
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ((500, "broken"), "answered HTTP 500: 'broken' (after 3 requests)"),
        ((200, completion("seven")), "replied 'seven', without a grade from 0 to 1 (after 3 requests)"),
        ((200, "{}"), "sent no chat completion: '{}' (after 3 requests)"),
    ],
)
def test_lasting_failure_is_one_line(server: JudgeServer, reply: Any, problem: str) -> None:
    server.script = [reply] * 3
    with pytest.raises(ScoringFailed) as failed:
        grade(task(server, retries=2), "a")
    assert str(failed.value) == f"the judge grader at {server.url} {problem}"


def test_refused_request_is_not_repeated(server: JudgeServer) -> None:
    server.script = [(404, "no such model")]
    with pytest.raises(ScoringFailed, match="refused the request with HTTP 404: 'no such model'"):
        grade(task(server), "a")
    assert len(server.requests) == 1


def test_unreachable_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_client, "FIRST_PAUSE_S", 0.0)
    with judge_server() as closed:
        pass
    with pytest.raises(ScoringFailed, match=r"the judge grader at http://127\.0\.0\.1:.* cannot be reached"):
        grade(task(closed, retries=1), "a")


def test_cached_answer_makes_no_request(server: JudgeServer, tmp_path: Path) -> None:
    spec = task(server)
    first = grade(spec, "a", "b", cache=tmp_path)
    again = grade(spec, "a", "b", cache=tmp_path)
    assert len(server.requests) == 2
    assert first.outcomes.tolist() == again.outcomes.tolist()
    assert again.usage is not None
    assert (again.usage.requests, again.usage.cached, again.usage.prompt_tokens) == (0, 2, 0)


@pytest.mark.parametrize("changed", [{"model": "other"}, {"prompt": "{{ completion }}?"}, {"max_tokens": 5}])
def test_changed_request_is_not_cached(server: JudgeServer, tmp_path: Path, changed: dict[str, Any]) -> None:
    grade(task(server), "a", cache=tmp_path)
    grade(task(server, **changed), "a", cache=tmp_path)
    assert len(server.requests) == 2


def test_grades_before_an_error_stay_cached(server: JudgeServer, tmp_path: Path) -> None:
    server.grade = lambda text: "broken" if "'c'" in text else '{"score": 1}'
    with pytest.raises(ScoringFailed):
        grade(task(server, retries=0, parallel=1), "a", "b", "c", cache=tmp_path)
    server.grade = lambda text: '{"score": 1}'
    assert grade(task(server), "a", "b", "c", cache=tmp_path).score == 1
    assert len(server.requests) == 4


@pytest.mark.parametrize("content", [b"", b"{", b'{"reply": 1}', b'{"reply": "no grade"}', b"\xff"])
def test_damaged_cache_file_is_requested_again(server: JudgeServer, tmp_path: Path, content: bytes) -> None:
    grade(task(server), "a", cache=tmp_path)
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(content)
    assert grade(task(server), "a", cache=tmp_path).score == 0.75
    assert json.loads(file.read_text())["reply"] == '{"score": 0.75}'


def test_key_is_sent_but_neither_stored_nor_printed(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    spec = task(server, api_key_env="MY_KEY")
    grade(spec, "a", cache=tmp_path)
    assert server.keys == ["Bearer sk-secret"]
    assert all(b"sk-secret" not in file.read_bytes() for file in tmp_path.rglob("*.json"))
    server.script = [(401, "invalid key sk-secret")]
    with pytest.raises(ScoringFailed, match=r"HTTP 401: 'invalid key \*\*\*'"):
        grade(spec, "b")
    server.script = [(401, "x" * 52 + "sk-secret")]  # cut within the key
    with pytest.raises(ScoringFailed) as failed:
        grade(spec, "b")
    assert "sk-" not in str(failed.value)
    assert "sk-secret" not in json.dumps(spec.to_record())


@pytest.mark.parametrize("key", [None, "", "two words", "sk\n-secret"])
def test_missing_or_invalid_key_is_refused(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(InputError, match="MY_KEY") as refused:
        grade(task(server, api_key_env="MY_KEY"), "a")
    assert "secret" not in str(refused.value)
    assert server.requests == []


def test_tokens_and_cost_are_counted_with_every_repetition(server: JudgeServer) -> None:
    server.script = [(200, completion("no grade"))]
    usage = grade(task(server, price_per_million={"input": 10, "output": 100}, parallel=1), "a", "b").usage
    assert usage is not None
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (2, 300, 30)
    assert usage.words().endswith("300 prompt and 30 completion tokens, cost 0.0060")


def test_prompt_that_reads_a_missing_column_is_refused_before_any_request(server: JudgeServer) -> None:
    spec = task(server, prompt="{{ missing }} {{ completion }}")
    with pytest.raises(DataError, match=r"row 1: judge\.prompt: 'missing' is undefined"):
        SCORERS["judge"].attainable(spec, [["a"]], EXAMPLES[:1])
    assert server.requests == []


def test_low_grade_of_the_reference_answer_is_a_warning(server: JudgeServer) -> None:
    server.grade = lambda text: '{"score": 0.25}'
    (warning,) = SCORERS["judge"].check_before_run(task(server), EXAMPLES)
    assert warning.endswith("the judge gives the reference answer of row 1 only 25 %")


@pytest.mark.parametrize(
    ("judge", "problem"),
    [
        ({"url": "ftp://host/v1"}, "judge.url should be like https://api.openai.com/v1, not 'ftp://host/v1'"),
        ({"url": "http://user:secret@host/v1"}, "judge.url has a user name, a password or a query"),
        ({"scale": [5, 1]}, r"judge.scale is \[5, 1\]; the first number must be the lower one"),
        ({"score_pattern": "("}, "judge.score_pattern is not a regular expression"),
        ({"score_pattern": "4"}, "judge.score_pattern '4' has 0 groups"),
        ({"api_key_env": "sk-123"}, "judge.api_key_env should be the name of an environment variable"),
    ],
)
def test_invalid_settings_are_refused(judge: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        task("http://localhost/v1", **judge)


def test_judge_section_and_metric_need_each_other() -> None:
    with pytest.raises(ValueError, match="metric: judge needs the section 'judge'"):
        generation(metric="judge")
    with pytest.raises(ValueError, match="'judge' is not used by metric: f1"):
        generation(metric="f1", judge={"url": "http://localhost/v1", "model": "m", "prompt": "p"})


def test_lasting_failure_of_one_answer_ends_the_pauses_of_the_others(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_client, "FIRST_PAUSE_S", 30.0)
    server.script = [(500, ""), (404, "")]
    began = time.monotonic()
    with pytest.raises(ScoringFailed):
        grade(task(server, parallel=2), "a", "b")
    assert time.monotonic() - began < 10
