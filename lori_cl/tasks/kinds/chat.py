"""Render a prompt as a user turn in the chat template of the model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.templates.chat import chat_text

DATE_STRING = "%d %b %Y"
"""The format of `date_string` in Llama's chat templates."""


def render_chat(task: Any, tokenizer: Any, content: str) -> str:
    """Render the chat template with one user turn, up to the beginning of the model's turn.

    The template reads the task's date instead of the clock, so a prompt is the same on every day.
    Raises: DataError, if the tokenizer has no chat template, or the template fails.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"task '{task.name}' sets chat: true, but the model's tokenizer has no chat template; "
            "use a model that was tuned for chat, or write the turns into the prompt"
        )
    try:
        return _render(tokenizer, content, task.date)
    except Exception as error:  # the template is part of the model and can raise anything
        raise DataError(f"task '{task.name}': the model's chat template fails: {first_line(error)}") from None


def _render(tokenizer: Any, content: str, day: date) -> str:
    turns = [{"role": "user", "content": content}]
    return chat_text(tokenizer, turns, strftime_now=_clock(day), date_string=day.strftime(DATE_STRING))


def _clock(day: date) -> Callable[[str], str]:
    """Return a `strftime_now` that always formats the beginning of this day."""
    return lambda form: datetime.combine(day, time()).strftime(form)
