"""Read conversations: `messages` as OpenAI's API has them, and `conversations` as ShareGPT has them.

The last assistant turn is the answer, and all turns before it are the prompt. Turns after it are ignored. For
training, every assistant turn is the answer of an example of its own, whose prompt is all turns before it. So
the loss is on every assistant turn and on nothing else, whatever the model's chat template does with earlier
turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec.data_formats import CONVERSATION_COLUMNS
from lori_cl.spec.error_messages import shown
from lori_cl.strict_json import InvalidJSON, parse_json
from lori_cl.tasks.examples import Example, Turn
from lori_cl.tasks.rows import Row

ROLES: Mapping[str, Mapping[str, str]] = {
    "messages": {role: role for role in ("system", "user", "assistant", "tool")} | {"developer": "system"},
    "sharegpt": {
        "system": "system",
        "human": "user",
        "user": "user",
        "gpt": "assistant",
        "chatgpt": "assistant",
        "assistant": "assistant",
        "tool": "tool",
        "observation": "tool",
    },
}
"""Format → the name of a role in the data → the role in a chat template."""
FIELDS: Mapping[str, tuple[str, str]] = {"messages": ("role", "content"), "sharegpt": ("from", "value")}
"""Format → the fields of a turn: its role and its text."""
MAX_TURNS = 1_000
"""Maximum number of turns of a conversation."""
MAX_CHARACTERS = 2**24
"""Maximum number of characters of all prompts of a conversation, which grow with the square of its turns."""
TITLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
"""Role → how a plain text names it, for a model without a chat template."""


def conversation_example(data_format: str, index: int, row: Row, where: str, *, chat: bool) -> Example:
    """Return the example of a row: the last assistant turn is the target.

    Raises: DataError, if the row has no valid conversation with an assistant turn after another turn.
    """
    turns = _turns(data_format, row, where)
    answers = _answers(turns)
    if not answers:
        raise DataError(f"{where}: the conversation has no assistant turn after a user turn")
    return _example(index, turns, answers[-1], chat)


def prompt_example(data_format: str, row: Row, where: str) -> Example:
    """Return an example without a target, for prediction: all turns, without an assistant turn at the end.

    A text that is no list in JSON is one user turn.
    Raises: DataError, if the row has no valid conversation with a user turn.
    """
    found = row.get(CONVERSATION_COLUMNS[data_format])
    if isinstance(found, str) and not found.lstrip().startswith("["):
        turns: tuple[Turn, ...] = (("user", found),)
    else:
        turns = _turns(data_format, row, where)
    prompt = turns[:-1] if turns[-1][0] == "assistant" else turns
    if not any(role != "system" for role, _ in prompt):
        raise DataError(f"{where}: the conversation has no user turn")
    return Example(0, plain_text(prompt), "", turns=prompt)


def prompt_row(data_format: str) -> dict[str, Any]:
    """Return a row with a conversation of one user turn, for error messages."""
    role, text = FIELDS[data_format]
    user = next(name for name, known in ROLES[data_format].items() if known == "user")
    return {CONVERSATION_COLUMNS[data_format]: [{role: user, text: "<text>"}]}


def assistant_turns(example: Example, *, chat: bool) -> Iterator[Example]:
    """Yield an example for every assistant turn of a conversation, the target included."""
    turns = (*example.turns, ("assistant", example.target.removeprefix("" if chat else " ")))
    for position in _answers(turns):
        yield _example(example.id, turns, position, chat)


def plain_text(prompt: Sequence[Turn]) -> str:
    """Return the turns as a text that ends where the assistant answers."""
    return "\n\n".join([*(f"{TITLES[role]}: {text}" for role, text in prompt), f"{TITLES['assistant']}:"])


def _example(index: int, turns: Sequence[Turn], position: int, chat: bool) -> Example:
    prompt = tuple(turns[:position])
    answer = turns[position][1]
    return Example(index, plain_text(prompt), answer if chat else f" {answer}", turns=prompt)


def _answers(turns: Sequence[Turn]) -> list[int]:
    """Return the positions of the assistant turns that answer another turn than the system's."""
    first = next((i for i, (role, _) in enumerate(turns) if role in ("user", "tool")), len(turns))
    return [i for i, (role, _) in enumerate(turns) if role == "assistant" and i > first]


def _turns(data_format: str, row: Row, where: str) -> tuple[Turn, ...]:
    column = CONVERSATION_COLUMNS[data_format]
    if column not in row:
        raise DataError(f"{where}: unknown column '{column}', which format: {data_format} reads")
    found = row[column]
    if isinstance(found, str):  # a list as JSON, in a CSV file
        try:
            found = parse_json(found)
        except InvalidJSON as problem:
            raise DataError(f"{where}: column '{column}' is not a list of turns in JSON: {problem}") from None
    if not isinstance(found, list | tuple) or not found:
        raise DataError(f"{where}: column '{column}' contains {shown(found)}, not a list of turns")
    if len(found) > MAX_TURNS:
        raise DataError(f"{where}: {len(found):,} turns; a conversation has at most {MAX_TURNS:,}; split it")
    turns = tuple(
        _turn(data_format, turn, f"{where}: {column}, turn {n}") for n, turn in enumerate(found, start=1)
    )
    if sum(len(text) * (len(turns) - i) for i, (_, text) in enumerate(turns)) > 2 * MAX_CHARACTERS:
        raise DataError(f"{where}: the conversation is too long to train on every turn; split it")
    return turns


def _turn(data_format: str, turn: Any, where: str) -> Turn:
    roles, (role_field, text_field) = ROLES[data_format], FIELDS[data_format]
    if not isinstance(turn, Mapping):
        raise DataError(f"{where}: {shown(turn)} is not an object with '{role_field}' and '{text_field}'")
    role, text = turn.get(role_field), _text(turn.get(text_field))
    if not isinstance(role, str) or role not in roles:
        raise DataError(f"{where}: '{role_field}' is {shown(role)}; use one of {', '.join(roles)}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise DataError(f"{where}: tool calls cannot be rendered; remove the row, or write them as text")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: '{text_field}' is {shown(text)}, not a text")
    return roles[role], text


def _text(content: Any) -> Any:
    """Return the text of OpenAI's content parts; other values unchanged."""
    if not isinstance(content, list | tuple):
        return content
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        return content
    return "".join(map(str, texts))
