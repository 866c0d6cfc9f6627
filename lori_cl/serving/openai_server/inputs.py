"""The input of a request as an example of a task: a text, columns as JSON, or a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lori_cl.errors import DataError
from lori_cl.serving.openai_server.request_body import Message
from lori_cl.serving.requests import Request, example_row, read_example
from lori_cl.spec.data_formats import CONVERSATION_COLUMNS
from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.conversations import FIELDS
from lori_cl.tasks.examples import Turn
from lori_cl.tasks.kinds.chat import turns_of

Input = str | Sequence[Message]
"""The prompt of /v1/completions, or the messages of /v1/chat/completions."""


def read_input(spec: Any, label: str, given: Input) -> Example:
    """Return the input as an example of a task.

    A conversation needs a task that reads conversations, or one with `chat: true`. The template of the latter
    is applied to the last message. Other tasks read one user message.

    Raises: DataError, if the task cannot read it.
    """
    messages = [Message(role="user", content=given)] if isinstance(given, str) else given
    where = "prompt" if isinstance(given, str) else "messages"
    *earlier, last = [_turn(message) for message in messages]
    if last[0] not in ("user", "tool"):
        raise DataError(f"{where}: the last message is from the role '{last[0]}'; it must be from the user")
    data_format: Any = getattr(spec, "format", None)
    if data_format in CONVERSATION_COLUMNS:
        role, text = FIELDS[data_format]
        turns = [{role: each[0], text: each[1]} for each in (*earlier, last)]
        return _read(spec, label, {CONVERSATION_COLUMNS[data_format]: turns}, where)
    if earlier and not getattr(spec, "chat", False):
        raise DataError(
            f"{where}: task '{label}' reads one text, not a conversation of {len(messages)} messages; send "
            "one message from the user"
        )
    example = _read(spec, label, _row(spec, label, last[1], where), where)
    return replace(example, turns=(*earlier, *turns_of(example))) if earlier else example


def _turn(message: Message) -> Turn:
    return "system" if message.role == "developer" else message.role, message.text


def _read(spec: Any, label: str, row: dict[str, Any], where: str) -> Example:
    return read_example(spec, Request(row, label, where))


def _row(spec: Any, label: str, text: str, where: str) -> dict[str, Any]:
    """Return the columns of the text: its only column, or those of a JSON object.

    Raises: DataError, if the task reads several columns and the text is not a JSON object.
    """
    column = kind_of(spec).text_column(spec)
    if column is not None:
        return {column: text}
    try:
        row = parse_json(text)
    except InvalidJSON:
        row = None
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: task '{label}' reads several columns; send a JSON object with them{example_row(spec)}"
        )
    return row
