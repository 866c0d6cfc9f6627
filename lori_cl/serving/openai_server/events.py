"""What the worker reports about one prompt: it began, new text, the answer, or an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lori_cl.serving.openai_server.inputs import Input


@dataclass(frozen=True)
class Decoding:
    """The settings of a request for generated answers; None is the task's own setting."""

    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    """In addition to the stop texts of the task."""
    seed: int | None = None
    """For sampling; None draws one."""


@dataclass(frozen=True)
class Started:
    """The prompt was read."""

    task: str
    """The label of the task that answers."""
    prompt_tokens: int


@dataclass(frozen=True)
class NewText:
    """The next part of an answer."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The answer is complete."""

    answer: str
    rest: str
    """The part of the answer after all `NewText`."""
    finish_reason: str
    completion_tokens: int
    scores: Mapping[str, float] | None = None
    """Probabilities of the labels, by label; None for tasks without a classification head."""


@dataclass(frozen=True)
class Failed:
    """There is no answer."""

    error: Exception


Event = Started | NewText | Finished | Failed


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt that waits for its answer."""

    model: str
    """The label of a task, or `auto`."""
    given: Input
    decoding: Decoding
    streamed: bool
    emit: Callable[[Event], None]
    """Receives the events, in the worker's thread."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set if the client no longer waits."""
