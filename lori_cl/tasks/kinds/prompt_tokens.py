"""Tokenize a prompt for a language model: one BOS, no end token before an answer, truncated to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lori_cl.errors import DataError
from lori_cl.tasks.examples import Example, Turn
from lori_cl.tasks.kinds.chat import render_turns, turns_of
from lori_cl.tasks.kinds.encoder_decoder import decoder_start
from lori_cl.tasks.kinds.special_tokens import split_special_tokens, word_ids

PLACEHOLDER = "PROMPTPLACEHOLDER"
"""Replaces the user turn to find the tokens of the template around it."""


def prompt_ids(task: Any, tokenizer: Any, example: Example) -> list[int]:
    """Tokenize a prompt; with `chat`, as a user turn before the model's turn.

    A plain prompt begins with the special tokens that the tokenizer adds before a text (BOS). The special
    tokens that it adds after a text (EOS, SEP) are removed, because they would end the sequence before the
    answer. The encoder of an encoder-decoder model reads them, because the answer is not in its sequence. A
    chat template contains its special tokens itself.
    Raises: DataError, as `render_turns`.
    """
    if task.chat:
        return _chat_ids(task, tokenizer, turns_of(example))
    ids, before, after = split_special_tokens(tokenizer, example.text)
    if decoder_start(tokenizer):
        return _with_one_bos(ids, ids[:before])
    return _with_one_bos(ids[: len(ids) - after], ids[:before] or _bos(tokenizer))


def cut_prompt_ids(task: Any, tokenizer: Any, example: Example, room: int) -> list[int]:
    """Tokenize the prompt to at most `room` tokens. It is truncated on the left, after its BOS. With `chat`,
    the user turn is truncated, and the template's tokens before and after it are kept. Of a conversation, the
    oldest turns are removed first; a system turn is kept. An encoder's special tokens are kept, too.

    Raises: DataError, if no token of the prompt itself would be left.
    """
    return fit_to_model(task, tokenizer, example, prompt_ids(task, tokenizer, example), room)


def fit_to_model(task: Any, tokenizer: Any, example: Example, ids: Sequence[int], room: int) -> list[int]:
    """Truncate the tokens of the example's prompt as `cut_prompt_ids` does."""
    if len(ids) <= room:
        return list(ids)
    if task.chat and _n_user_turns(example.turns) > 1:
        shorter = _without_oldest_turns(task, tokenizer, example, room)
        return fit_to_model(task, tokenizer, shorter, prompt_ids(task, tokenizer, shorter), room)
    before, after = _frame(task, tokenizer, example, ids)
    kept = room - before - after
    if kept < 1:
        raise DataError(
            f"row {example.id + 1}: {room} tokens are left for the prompt, but "
            f"{_frame_name(task, tokenizer)} {before + after}; raise "
            f"train.max_length by {1 - kept} or more"
        )
    return [*ids[:before], *ids[len(ids) - after - kept :]]


def _frame_name(task: Any, tokenizer: Any) -> str:
    if task.chat:
        return "the chat template alone needs"
    return "its special tokens alone need" if decoder_start(tokenizer) else "its BOS alone needs"


def _n_user_turns(turns: Sequence[Turn]) -> int:
    return sum(role == "user" for role, _ in turns)


def _without_oldest_turns(task: Any, tokenizer: Any, example: Example, room: int) -> Example:
    """Return the example without as many of its oldest turns as necessary, but with its system turns.

    The turns from the last user turn on are always kept.
    """
    users = [i for i, (role, _) in enumerate(example.turns) if role == "user"]

    def from_user_turn(n: int) -> Example:
        system = [turn for turn in example.turns[: users[n]] if turn[0] == "system"]
        return replace(example, turns=(*system, *example.turns[users[n] :]))

    low, high = 1, len(users) - 1
    while low < high:
        middle = (low + high) // 2
        if len(prompt_ids(task, tokenizer, from_user_turn(middle))) <= room:
            high = middle
        else:
            low = middle + 1
    return from_user_turn(low)


def _chat_ids(task: Any, tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    ids = word_ids(tokenizer, render_turns(task, tokenizer, turns))
    *earlier, (role, content) = turns
    own = content.lstrip().removeprefix(tokenizer.bos_token) if tokenizer.bos_token else content
    if (
        own != content.lstrip() and own.strip()
    ):  # the prompt contains a literal BOS, and the template may add one
        without = word_ids(tokenizer, render_turns(task, tokenizer, [*earlier, (role, own)]))
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
    """Return how many tokens at the start and at the end of a prompt are never removed."""
    if not task.chat:
        _, before, after = split_special_tokens(tokenizer, example.text)
        if decoder_start(tokenizer):
            return before, after
        return before or int(list(ids[:1]) == _bos(tokenizer)), 0
    *earlier, (role, _) = turns_of(example)
    rendered = render_turns(task, tokenizer, [*earlier, (role, PLACEHOLDER)])
    header, found, rest = rendered.partition(PLACEHOLDER)
    if not found:  # the template rewrites the turn; its first token may still be BOS
        return int(list(ids[:1]) == _bos(tokenizer)), 0
    footer = rest.rpartition(PLACEHOLDER)[2]
    before = _common_prefix_length(ids, _with_one_bos(word_ids(tokenizer, header), _bos(tokenizer)))
    after = _common_prefix_length(ids[::-1], word_ids(tokenizer, footer)[::-1])
    return before, after


def _common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common prefix."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
