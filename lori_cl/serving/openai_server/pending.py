"""The prompts of one HTTP request while the worker answers them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from lori_cl.serving.openai_server.api_error import ApiError, api_error_of
from lori_cl.serving.openai_server.events import Decoding, Event, Failed, Finished, Prompt, Started
from lori_cl.serving.openai_server.inputs import Input
from lori_cl.serving.openai_server.worker import Worker

DISCONNECT_CHECK_S = 1.0
"""Seconds between two checks whether the client still waits."""


class Answer(NamedTuple):
    """An answered prompt."""

    started: Started
    finished: Finished


class PendingAnswers:
    """Receives the events of several prompts in the event loop."""

    def __init__(self, model: str, inputs: Sequence[Input], decoding: Decoding, *, streamed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._early: list[tuple[int, Event]] = []
        self.started: dict[int, Started] = {}
        self.prompts = [
            Prompt(model, given, decoding, streamed, partial(self._emit, number))
            for number, given in enumerate(inputs)
        ]

    def _emit(self, number: int, event: Event) -> None:
        """Hand an event of the worker's thread to the event loop."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, (number, event))

    def submit(self, worker: Worker) -> None:
        """Queue the prompts.

        Raises: ApiError, if too many wait.
        """
        worker.submit(self.prompts)

    def cancel(self) -> None:
        """End the prompts that are not answered yet."""
        for prompt in self.prompts:
            prompt.cancelled.set()

    async def wait_for_start(self, is_disconnected: Callable[[], Awaitable[bool]]) -> None:
        """Wait until all prompts were read, so that invalid ones are refused with their status code.

        Raises: ApiError.
        """
        while len(self.started) < len(self.prompts):
            number, event = await self._next(is_disconnected)
            if isinstance(event, Started):
                self.started[number] = event
            else:
                self._early.append((number, event))

    async def answers(self, is_disconnected: Callable[[], Awaitable[bool]]) -> list[Answer]:
        """Return all answers.

        Raises: ApiError.
        """
        await self.wait_for_start(is_disconnected)
        found = {n: event for n, event in self._early if isinstance(event, Finished)}
        while len(found) < len(self.prompts):
            number, event = await self._next(is_disconnected)
            if isinstance(event, Finished):
                found[number] = event
        return [Answer(self.started[n], found[n]) for n in range(len(self.prompts))]

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the start, until all prompts are answered.

        Raises: ApiError.
        """
        left = len(self.prompts)
        while left:
            number, event = self._early.pop(0) if self._early else await self._events.get()
            self._raise_if_failed(event)
            left -= isinstance(event, Finished)
            yield number, event

    async def _next(self, is_disconnected: Callable[[], Awaitable[bool]]) -> tuple[int, Event]:
        """Return the next event.

        Raises: ApiError, if the prompt failed, or the client is gone.
        """
        while True:
            try:
                number, event = await asyncio.wait_for(self._events.get(), DISCONNECT_CHECK_S)
            except TimeoutError:
                if await is_disconnected():
                    raise ApiError(499, "the client closed the connection") from None
                continue
            self._raise_if_failed(event)
            return number, event

    def _raise_if_failed(self, event: Event) -> None:
        if isinstance(event, Failed):
            raise api_error_of(event.error) from event.error
