"""The token ids of a prompt that a causal language model continues: one BOS, no end token, cut to fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lori_cl.errors import DataError
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.chat import render_chat

PLACEHOLDER = "PROMPTPLACEHOLDER"
"""Stands for a user's turn where only the template around it is wanted."""


def prompt_ids(task: Any, tokenizer: Any, example: Example) -> list[int]:
    """The tokens of a prompt; where the task says `chat`, as a user's turn before the model's own.

    A plain prompt begins with what the tokenizer puts before a text (BOS), and ends with its own last token:
    what the tokenizer puts after a text (EOS, SEP) would end the sequence before the answer. A chat template
    writes its special tokens itself.
    Raises: DataError, as `render_chat` says.
    """
    if task.chat:
        return _chat_ids(task, tokenizer, example.text)
    ids, before, after = _encoded(tokenizer, example.text)
    return _with_one_bos(ids[: len(ids) - after], ids[:before] or _bos(tokenizer))


def cut_prompt_ids(task: Any, tokenizer: Any, example: Example, room: int) -> list[int]:
    """The prompt in at most `room` tokens. It is cut from the left, behind its BOS; with `chat`, the user's
    turn is cut, and the template's tokens before and after it stay.

    Raises: DataError, if nothing of the prompt itself would be left.
    """
    return fitted(task, tokenizer, example, prompt_ids(task, tokenizer, example), room)


def fitted(task: Any, tokenizer: Any, example: Example, ids: Sequence[int], room: int) -> list[int]:
    """The tokens of the example's prompt, cut as `cut_prompt_ids` says."""
    if len(ids) <= room:
        return list(ids)
    before, after = _frame(task, tokenizer, example, ids)
    kept = room - before - after
    if kept < 1:
        raise DataError(
            f"row {example.id + 1}: {room} tokens are left for the prompt, and "
            f"{'the chat template' if task.chat else 'its BOS'} alone takes {before + after}; raise "
            f"train.max_length by {1 - kept} or more"
        )
    return [*ids[:before], *ids[len(ids) - after - kept :]]


def word_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that stands after another: without special tokens around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _encoded(tokenizer: Any, text: str) -> tuple[list[int], int, int]:
    """(token ids, how many special tokens the tokenizer added before the text, how many after it)."""
    if tokenizer.is_fast:
        encoded = tokenizer(text, return_special_tokens_mask=True)
        added = encoded["special_tokens_mask"]  # 0 for a special token that stands in the text itself
        before = next((i for i, special in enumerate(added) if not special), len(added))
        after = next((i for i, special in enumerate(reversed(added)) if not special), 0)
        return encoded["input_ids"], before, after
    ids: list[int] = tokenizer(text)["input_ids"]
    bare = word_ids(tokenizer, text)  # some slow tokenizers mark no special token
    for before in range(len(ids) - len(bare) + 1):
        if ids[before : before + len(bare)] == bare:
            return ids, before, len(ids) - before - len(bare)
    return ids, 0, 0


def _chat_ids(task: Any, tokenizer: Any, content: str) -> list[int]:
    ids = word_ids(tokenizer, render_chat(task, tokenizer, content))
    own = content.lstrip().removeprefix(tokenizer.bos_token) if tokenizer.bos_token else content
    if own != content.lstrip() and own.strip():  # the prompt writes BOS literally, and the template may too
        without = word_ids(tokenizer, render_chat(task, tokenizer, own))
        ids = without if without[:1] == _bos(tokenizer) else ids
    return _with_one_bos(ids, _bos(tokenizer))


def _bos(tokenizer: Any) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def _with_one_bos(ids: Sequence[int], bos: Sequence[int]) -> list[int]:
    """Drop every repetition of BOS at the start; `bos` may be several tokens, or none."""
    n, ids = len(bos), list(ids)
    while n and len(ids) > 2 * n and ids[:n] == ids[n : 2 * n] == list(bos):
        ids = ids[n:]
    return ids


def _frame(task: Any, tokenizer: Any, example: Example, ids: Sequence[int]) -> tuple[int, int]:
    """How many of a prompt's tokens, at its start and at its end, are never cut."""
    if not task.chat:
        before = _encoded(tokenizer, example.text)[1]
        return before or int(list(ids[:1]) == _bos(tokenizer)), 0
    rendered = render_chat(task, tokenizer, PLACEHOLDER)
    header, found, rest = rendered.partition(PLACEHOLDER)
    if not found:  # a template that rewrites the turn; its first token may still be BOS
        return int(list(ids[:1]) == _bos(tokenizer)), 0
    footer = rest.rpartition(PLACEHOLDER)[2]
    before = _common(ids, _with_one_bos(word_ids(tokenizer, header), _bos(tokenizer)))
    after = _common(ids[::-1], word_ids(tokenizer, footer)[::-1])
    return before, after


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
