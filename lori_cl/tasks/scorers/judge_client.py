"""Ask a judge over the chat completions API of OpenAI: retries, a cache on disk, and the cost."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lori_cl import digest
from lori_cl.errors import InputError, LoriError, ScoringFailed, first_line, one_line
from lori_cl.spec.error_messages import shown
from lori_cl.spec.judge import JudgeSpec
from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.tasks.scorers.judge_reply import grade_in

if TYPE_CHECKING:
    import httpx2

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""The pause before the first repetition, which doubles, and the longest pause."""
LONGEST_REPLY = 1 << 20
"""Maximum bytes of an HTTP response."""


@dataclass(frozen=True)
class Graded:
    """A grade from 0 to 1, and the tokens that were paid for it now."""

    grade: float
    cached: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _FailedForNow(Exception):
    """A failure that may go away; with the pause in seconds that the server asks for."""

    def __init__(self, problem: str, pause_s: float = 0.0) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


class JudgeClient:
    """Grades texts. The threads of one process may share it.

    `cache` is a folder for the replies; None stores nothing.
    """

    def __init__(self, judge: JudgeSpec, http: httpx2.Client, cache: Path | None) -> None:
        self._judge, self._http, self._cache = judge, http, cache
        self._key = api_key(judge)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let `ask` in other threads end instead of repeating a request."""
        self._stopped.set()

    def ask(self, text: str) -> Graded:
        """Return the grade that the judge gives; a reply in the cache is not requested again.

        Raises: ScoringFailed: the server refuses the request, or gives no grade after every repetition.
        """
        body = request_body(self._judge, text)
        file = None if self._cache is None else self._file(self._cache, body)
        if file is not None and (known := self._cached(file)) is not None:
            return Graded(known, cached=True)
        pause_s, spent = FIRST_PAUSE_S, (0, 0)
        for attempt in range(self._judge.retries + 1):
            try:
                reply, usage = self._request(body)
                spent = (spent[0] + usage[0], spent[1] + usage[1])
                grade = grade_in(self._judge, reply)
            except (_FailedForNow, ValueError) as problem:
                if attempt == self._judge.retries:
                    raise self._error(f"{problem} (after {attempt + 1} requests)") from None
                asked = getattr(problem, "pause_s", 0.0)
                if self._stopped.wait(min(LONGEST_PAUSE_S, max(pause_s, asked))):
                    raise self._error(f"{problem} (interrupted)") from None
                pause_s *= 2
            else:
                if file is not None:
                    _write(file, {"request": body, "reply": reply, "usage": usage})
                return Graded(grade, False, *spent)
        raise AssertionError("the loop returns or raises")

    def _file(self, cache: Path, body: dict[str, Any]) -> Path:
        sha256 = digest.of_json({"url": self._judge.url, **body})
        return cache / sha256[:2] / f"{sha256}.json"

    def _cached(self, file: Path) -> float | None:
        """Return the grade in a cached reply; None if there is none, or the file is damaged."""
        try:
            return grade_in(self._judge, parse_json(file.read_text("utf-8"))["reply"])
        except (OSError, InvalidJSON, ValueError, TypeError, LookupError):
            return None

    def _request(self, body: dict[str, Any]) -> tuple[str, tuple[int, int]]:
        """Return the text of the reply, and the tokens of the prompt and of the reply."""
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url = f"{self._judge.url}/chat/completions"
        try:
            with self._http.stream("POST", url, json=body, headers=headers) as response:
                content = b""
                for part in response.iter_bytes():
                    content += part
                    if len(content) > LONGEST_REPLY:
                        raise self._error(f"sent more than {LONGEST_REPLY:,} bytes")
        except httpx2.TimeoutException:
            raise _FailedForNow(f"gave no answer within {self._judge.timeout_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _FailedForNow(f"cannot be reached: {self._without_key(first_line(error))}") from None
        text = self._without_key(content.decode(errors="replace"))
        status = f"HTTP {response.status_code}: {shown(text.strip())}"
        if response.status_code == 429 or response.status_code >= 500:
            raise _FailedForNow(f"answered {status}", _asked_pause(response))
        if response.status_code != 200:
            raise self._error(f"refused the request with {status}")
        return _reply(text)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _error(self, problem: str) -> ScoringFailed:
        return ScoringFailed(f"the judge {self._judge.model} at {self._judge.url} {problem}")


def request_body(judge: JudgeSpec, text: str) -> dict[str, Any]:
    """Return the request as JSON values."""
    limit = {} if judge.max_tokens is None else {"max_tokens": judge.max_tokens}
    return {
        "model": judge.model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        **limit,
    }


def api_key(judge: JudgeSpec) -> str:
    """Return the API key from the environment; empty if none is needed.

    Raises: InputError: the variable is not set, or contains something that is not a key.
    """
    if judge.api_key_env is None:
        return ""
    key = os.environ.get(judge.api_key_env, "").strip()
    if not key:
        raise InputError(
            f"judge.api_key_env is {judge.api_key_env}, and this environment variable is not set; set it to "
            "the API key"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"the environment variable {judge.api_key_env} has characters that no API key has")
    return key


def _asked_pause(response: httpx2.Response) -> float:
    """Return the seconds in the header Retry-After; 0 without it."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:  # a date
        return 0.0


def _reply(text: str) -> tuple[str, tuple[int, int]]:
    """Return the reply in a response, and the tokens of the prompt and of the reply.

    Raises: _FailedForNow: the response is not that of the API.
    """
    problem = _FailedForNow(f"sent no chat completion: {shown(text)}")
    try:
        response = parse_json(text)
        content = response["choices"][0]["message"]["content"]
        usage = response.get("usage") or {}
        tokens = [usage.get(field) or 0 for field in ("prompt_tokens", "completion_tokens")]
    except (InvalidJSON, TypeError, LookupError, AttributeError):
        raise problem from None
    if not isinstance(content, str) or not all(isinstance(n, int) and 0 <= n < 2**40 for n in tokens):
        raise problem
    return content, (tokens[0], tokens[1])


def _write(file: Path, record: dict[str, Any]) -> None:
    """Write a file completely or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as temporary:
                json.dump(record, temporary)
                temporary.flush()
                os.fsync(temporary.fileno())
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LoriError(one_line(f"{file} cannot be written: {error.strerror}")) from error
