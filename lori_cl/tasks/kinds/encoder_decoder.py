"""Encoder-decoder models, such as T5 and BART: the encoder reads the prompt, the decoder writes the answer.

A kind is given only the tokenizer. `load_tokenizer` therefore sets the decoder's first tokens on a tokenizer
that belongs to such a model, and kinds read them with `decoder_start`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lori_cl.tasks.kinds.special_tokens import split_special_tokens

ATTRIBUTE = "lori_cl_decoder_start"
"""Attribute of the tokenizer of an encoder-decoder model."""

IGNORED = -100
"""The label that transformers excludes from the loss."""


def set_decoder_start(tokenizer: Any, start: int) -> None:
    """Set what `decoder_start` returns; `start` is the model's `decoder_start_token_id`.

    After it, the decoder reads the special tokens that the tokenizer adds before a text (BART's `<s>`).
    """
    ids, before, _ = split_special_tokens(tokenizer, "a")
    first = ids[:before]
    setattr(tokenizer, ATTRIBUTE, first if first[:1] == [start] else [start, *first])


def decoder_start(tokenizer: Any) -> list[int]:
    """Return the tokens that the decoder reads before an answer; empty for a causal language model."""
    return list(getattr(tokenizer, ATTRIBUTE, []))


def decoder_fields(start: Sequence[int], answer: Sequence[int]) -> dict[str, list[int]]:
    """Return the decoder's input and labels for an answer, with the loss on the answer only."""
    return {
        "decoder_input_ids": [*start, *answer[:-1]],
        "labels": [IGNORED] * (len(start) - 1) + list(answer),
    }
