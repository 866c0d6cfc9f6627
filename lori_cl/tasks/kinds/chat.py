"""A prompt as a user's turn in the chat template of the model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.templates.chat import chat_text

DATE_STRING = "%d %b %Y"
"""How Llama's chat templates write their `date_string`."""


def render_chat(task: Any, tokenizer: Any, content: str) -> str:
    """The chat template over one user turn, up to where the model's own turn begins.

    The template reads the task's date in place of the clock, so a prompt is the same on every day.
    Raises: DataError, if the tokenizer has no chat template, or it refuses the prompt.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"task '{task.name}' says chat: true, and the model's tokenizer has no chat template; "
            "name a model that was tuned to chat, or write the turns into the prompt"
        )
    try:
        return _rendered(tokenizer, content, task.date)
    except Exception as error:  # the template belongs to the model, and computes
        raise DataError(f"task '{task.name}': the model's chat template fails: {first_line(error)}") from None


def _rendered(tokenizer: Any, content: str, day: date) -> str:
    turns = [{"role": "user", "content": content}]
    return chat_text(tokenizer, turns, strftime_now=_clock(day), date_string=day.strftime(DATE_STRING))


def _clock(day: date) -> Callable[[str], str]:
    """A `strftime_now` that always says the beginning of this day."""
    return lambda form: datetime.combine(day, time()).strftime(form)
