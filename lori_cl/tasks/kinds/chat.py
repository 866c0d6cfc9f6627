"""Render a prompt as a user turn, or as several turns, in the chat template of the model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from typing import Any

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.examples import Example, Turn
from lori_cl.tasks.templates.chat import chat_text

DATE_STRING = "%d %b %Y"
"""The format of `date_string` in Llama's chat templates."""


def turns_of(example: Example) -> Sequence[Turn]:
    """Return the turns of a prompt: those of a conversation, otherwise one user turn."""
    return example.turns or (("user", example.text),)


def render_turns(task: Any, tokenizer: Any, turns: Sequence[Turn]) -> str:
    """Render the chat template with these turns, up to the beginning of the model's turn.

    The task's `system` is the first turn, unless there is a system turn already.
    The template reads the task's date instead of the clock, so a prompt is the same on every day.
    Raises: DataError, if the tokenizer has no chat template, or the template fails.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"task '{task.name}' sets chat: true, but the model's tokenizer has no chat template; "
            "use a model that was tuned for chat, or write the turns into the prompt"
        )
    try:
        return _render(tokenizer, _with_system(task, turns), task.date)
    except Exception as error:  # the template is part of the model and can raise anything
        raise DataError(f"task '{task.name}': the model's chat template fails: {first_line(error)}") from None


def _with_system(task: Any, turns: Sequence[Turn]) -> Sequence[Turn]:
    system = getattr(task, "system", None)  # the task of a plugin may lack it
    if system is None or any(role == "system" for role, _ in turns):
        return turns
    return [("system", system), *turns]


def _render(tokenizer: Any, turns: Sequence[Turn], day: date) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return chat_text(tokenizer, messages, strftime_now=_clock(day), date_string=day.strftime(DATE_STRING))


def _clock(day: date) -> Callable[[str], str]:
    """Return a `strftime_now` that always formats the beginning of this day."""
    return lambda form: datetime.combine(day, time()).strftime(form)
