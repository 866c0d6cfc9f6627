"""What the tasks declare that can ask a model through its chat template."""

from __future__ import annotations

import datetime
import re
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lori_cl.spec.task import TaskSpec

DEFAULT_DATE = datetime.date(2024, 7, 26)
"""The date that Llama's chat templates write where they can read no clock."""

ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _whole_date(value: Any) -> Any:
    """A date as YAML or a record writes it; no timestamp, and no number of seconds."""
    if value is None or (isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)):
        return value
    with suppress(ValueError):  # a month 13
        if isinstance(value, str) and ISO_DATE.fullmatch(value):
            return datetime.date.fromisoformat(value)
    raise PydanticCustomError("date", "Input should be a date such as 2026-11-27")


Date = Annotated[datetime.date, BeforeValidator(_whole_date)]
"""A calendar date."""


class ChatTaskSpec(TaskSpec):
    """A task whose prompt can be a user's turn in a chat."""

    chat: bool = False
    """Whether the prompt is a user's turn in the chat template of the model's tokenizer."""
    date: Date | None = Field(default=None, validate_default=True)
    """What a chat template reads in place of the clock, so that the task is the same on every day; with
    `chat`, None means 2024-07-26."""

    @field_validator("date")
    @classmethod
    def _only_a_chat_has_a_date(cls, value: Date | None, info: ValidationInfo) -> Date | None:
        chat = info.data.get("chat", False)
        if value is not None and not chat:
            raise ValueError("date is what a chat template reads; say chat: true, or remove it")
        return value or (DEFAULT_DATE if chat else None)
