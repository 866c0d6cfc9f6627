"""A streamed response: server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from lori_cl.serving.openai_server.api_error import ApiError
from lori_cl.serving.openai_server.events import Finished, NewText
from lori_cl.serving.openai_server.pending import Answer, PendingAnswers
from lori_cl.serving.openai_server.responses import Response

DONE = "data: [DONE]\n\n"


async def stream(pending: PendingAnswers, response: Response, *, include_usage: bool) -> AsyncIterator[str]:
    """Yield the chunks of all answers as server-sent events.

    An error ends the stream with an error object. If the client is gone, the prompts are cancelled.
    """
    started = [pending.started[n] for n in range(len(pending.prompts))]
    finished: dict[int, Finished] = {}
    try:
        for chunk in response.first_chunks(started):
            yield sse(chunk)
        async for number, event in pending.events():
            match event:
                case NewText(text):
                    yield sse(response.text_chunk(number, started[number], text))
                case Finished():
                    finished[number] = event
                    if event.rest:
                        yield sse(response.text_chunk(number, started[number], event.rest))
                    yield sse(response.last_chunk(number, started[number], event))
        if include_usage:
            answers = [Answer(each, finished[n]) for n, each in enumerate(started)]
            yield sse(response.usage_chunk(answers))
        yield DONE
    except ApiError as error:
        yield sse(error.to_object())
    finally:
        pending.cancel()


def sse(value: Any) -> str:
    """Return one server-sent event with a JSON value."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
