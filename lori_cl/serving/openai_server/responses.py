"""The response objects of /v1/chat/completions and /v1/completions, complete and in chunks."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from lori_cl.serving.openai_server.events import Finished, Started
from lori_cl.serving.openai_server.pending import Answer


class Response(ABC):
    """The objects of one response."""

    id_prefix: ClassVar[str]
    object_name: ClassVar[str]
    chunk_name: ClassVar[str]

    def __init__(self) -> None:
        self._id = f"{self.id_prefix}-{secrets.token_hex(12)}"
        self._created = int(time.time())

    def complete(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return the object of a response that is not streamed."""
        choices = [
            _choice(number, self.content(answer.finished.answer), answer.finished)
            for number, answer in enumerate(answers)
        ]
        model = answers[0].started.task
        return {**self._head(self.object_name, model), "choices": choices, "usage": usage(answers)}

    def first_chunks(self, started: Sequence[Started]) -> list[dict[str, Any]]:
        """Return the chunks before the text."""
        return []

    def text_chunk(self, number: int, started: Started, text: str) -> dict[str, Any]:
        """Return the chunk with new text of one answer."""
        return self._chunk(started.task, [_choice(number, self.delta(text), None)])

    def last_chunk(self, number: int, started: Started, finished: Finished) -> dict[str, Any]:
        """Return the chunk that ends one answer."""
        return self._chunk(started.task, [_choice(number, self.delta(None), finished)])

    def usage_chunk(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return the chunk with the numbers of tokens."""
        return {**self._chunk(answers[0].started.task, []), "usage": usage(answers)}

    def _chunk(self, model: str, choices: Sequence[Any]) -> dict[str, Any]:
        return {**self._head(self.chunk_name, model), "choices": list(choices)}

    def _head(self, name: str, model: str) -> dict[str, Any]:
        return {"id": self._id, "object": name, "created": self._created, "model": model}

    @abstractmethod
    def content(self, text: str) -> dict[str, Any]:
        """Return the field of a choice that has the answer."""

    @abstractmethod
    def delta(self, text: str | None) -> dict[str, Any]:
        """Return the field of a chunk's choice that has the new text."""


class ChatResponse(Response):
    """The response of /v1/chat/completions."""

    id_prefix, object_name, chunk_name = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def first_chunks(self, started: Sequence[Started]) -> list[dict[str, Any]]:
        """Return the chunk with the role of the message."""
        role = {"delta": {"role": "assistant", "content": ""}}
        return [self._chunk(each.task, [_choice(n, role, None)]) for n, each in enumerate(started)]

    def content(self, text: str) -> dict[str, Any]:
        """Return the message."""
        return {"message": {"role": "assistant", "content": text}}

    def delta(self, text: str | None) -> dict[str, Any]:
        """Return the change of the message."""
        return {"delta": {} if text is None else {"content": text}}


class CompletionResponse(Response):
    """The response of /v1/completions."""

    id_prefix, object_name, chunk_name = "cmpl", "text_completion", "text_completion"

    def content(self, text: str) -> dict[str, Any]:
        """Return the text."""
        return {"text": text}

    def delta(self, text: str | None) -> dict[str, Any]:
        """Return the new text."""
        return {"text": text or ""}


def usage(answers: Sequence[Answer]) -> dict[str, int]:
    """Return the numbers of tokens."""
    prompt = sum(each.started.prompt_tokens for each in answers)
    completion = sum(each.finished.completion_tokens for each in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _choice(number: int, content: dict[str, Any], finished: Finished | None) -> dict[str, Any]:
    choice = {"index": number, **content, "logprobs": None}
    choice["finish_reason"] = None if finished is None else finished.finish_reason
    if finished is not None and finished.scores is not None:
        choice["scores"] = dict(finished.scores)
    return choice
