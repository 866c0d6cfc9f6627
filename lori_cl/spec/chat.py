"""Fields of the tasks that can use the chat template of the model."""

from __future__ import annotations

import datetime
import re
from contextlib import suppress
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lori_cl.spec.task import TaskSpec

DEFAULT_DATE = datetime.date(2024, 7, 26)
"""The date that Llama's chat templates write if they have no clock."""

ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _parse_date(value: Any) -> Any:
    """Convert a date from YAML or a record; reject timestamps and numbers of seconds."""
    if value is None or (isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)):
        return value
    with suppress(ValueError):  # an invalid date such as month 13
        if isinstance(value, str) and ISO_DATE.fullmatch(value):
            return datetime.date.fromisoformat(value)
    raise PydanticCustomError("date", "Input should be a date such as 2026-11-27")


Date = Annotated[datetime.date, BeforeValidator(_parse_date)]
"""A calendar date."""


class ChatTaskSpec(TaskSpec):
    """A task whose prompt can be formatted as a user turn of a chat."""

    omitted_if_none: ClassVar[frozenset[str]] = TaskSpec.omitted_if_none | {"system"}

    chat: bool = False
    """Whether to format the prompt as a user turn with the chat template of the model's tokenizer."""
    date: Date | None = Field(default=None, validate_default=True)
    """The date that the chat template reads instead of the clock, so that prompts are the same on every day.
    With `chat`, None means 2024-07-26."""

    system: str | None = None
    """The text of a system turn before the user turn, with `chat`. A row with a system turn keeps its own."""

    @field_validator("system")
    @classmethod
    def _require_chat_for_system(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not info.data.get("chat", False):
            raise ValueError("system is only used by a chat template; set chat: true or remove system")
        if value is not None and not value.strip():
            raise ValueError("system is empty; remove it")
        return value

    @field_validator("date")
    @classmethod
    def _require_chat_for_date(cls, value: Date | None, info: ValidationInfo) -> Date | None:
        chat = info.data.get("chat", False)
        if value is not None and not chat:
            raise ValueError("date is only used by a chat template; set chat: true or remove date")
        return value or (DEFAULT_DATE if chat else None)
