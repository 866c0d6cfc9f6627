"""The common formats of instruction data: their columns, and the templates that read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

DataFormat = Literal["messages", "sharegpt", "alpaca", "prompt-completion"]
"""A format of instruction data."""

CONVERSATION_COLUMNS: Mapping[str, str] = {"messages": "messages", "sharegpt": "conversations"}
"""Format → the column that holds a list of turns."""

ALPACA_CHAT = "{{ instruction }}{% if input is defined and input %}\n\n{{ input }}{% endif %}"
"""The user turn of an Alpaca row."""
ALPACA = (
    "Below is an instruction that describes a task{% if input is defined and input %}, paired with an "
    "input that provides further context{% endif %}. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n{{ instruction }}\n\n"
    "{% if input is defined and input %}### Input:\n{{ input }}\n\n{% endif %}"
    "### Response:"
)
"""The prompt of an Alpaca row without a chat template. Source: Taori et al. 2023, Stanford Alpaca."""


COLUMNS: Mapping[str, frozenset[str]] = {
    **{data_format: frozenset({column}) for data_format, column in CONVERSATION_COLUMNS.items()},
    "alpaca": frozenset({"instruction", "output"}),
    "prompt-completion": frozenset({"prompt", "completion"}),
}
"""Format → the columns that its rows have."""


def format_of(columns: Collection[str]) -> str | None:
    """Return the first format whose columns these include; None if there is none."""
    return next((name for name, needed in COLUMNS.items() if needed <= {*columns}), None)


def templates_of(data_format: Any, chat: bool) -> Mapping[str, str]:
    """Return the default `prompt` and `answer` of a format; empty for conversations and unknown formats."""
    match data_format:
        case "alpaca":
            return {"prompt": ALPACA_CHAT if chat else ALPACA, "answer": "{{ output }}"}
        case "prompt-completion":
            return {"prompt": "{{ prompt }}", "answer": "{{ completion }}"}
    return {}
