"""The special tokens that a tokenizer adds around a text."""

from __future__ import annotations

from typing import Any


def word_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokenize a text that follows another text: without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def split_special_tokens(tokenizer: Any, text: str) -> tuple[list[int], int, int]:
    """Return (token ids, number of special tokens added before the text, number added after it)."""
    if tokenizer.is_fast:
        encoded = tokenizer(text, return_special_tokens_mask=True)
        added = encoded["special_tokens_mask"]  # 0 for a special token in the text itself
        before = next((i for i, special in enumerate(added) if not special), len(added))
        after = next((i for i, special in enumerate(reversed(added)) if not special), 0)
        return encoded["input_ids"], before, after
    ids: list[int] = tokenizer(text)["input_ids"]
    bare = word_ids(tokenizer, text)  # some slow tokenizers do not mark special tokens
    for before in range(len(ids) - len(bare) + 1):
        if ids[before : before + len(bare)] == bare:
            return ids, before, len(ids) - before - len(bare)
    return ids, 0, 0
