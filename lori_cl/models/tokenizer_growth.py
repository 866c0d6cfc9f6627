"""Upper bound of how much longer a tokenizer may make a text, from its `tokenizer.json`.

The parts of a tokenizer run in Rust, where a text that does not fit into memory ends the process. The bound
is therefore computed from their settings before they are created.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lori_cl.errors import ModelError

MAX_GROWTH = 64
"""Maximum characters produced from one; a byte-level tokenizer makes 2, a known character map 18."""
MAX_TEXT = 1_000
"""Maximum characters of a text in a tokenizer's settings, and maximum tokens added around a text."""
MAX_COPIES = 4
"""Maximum number of copies of a text in its encoding."""
MAX_PADDED = 2**20
"""Maximum number of tokens that a tokenizer may pad each text to."""
MAX_REPEATS = 10_000
"""Maximum counted repetitions in a regular expression: a{9}{9} counts 81."""

REPEATED = re.compile(r"\{(\d+)?,?(\d+)?\}")
"""A counted repetition."""
CHILDREN = ("normalizers", "pretokenizers", "decoders", "processors")
"""Fields in which a sequence holds its parts."""
STEPS = ("normalizer", "pre_tokenizer", "decoder")


def check_tokenizer_json(path: str, tokenizer: Mapping[str, Any]) -> float:
    """Return how many times longer the tokenizer may make a text.

    Raises: ModelError, if the factor, the padding or the added tokens exceed their limits.
    """
    problem = _problem(tokenizer)
    encoded = _growth(tokenizer.get("normalizer")) * _growth(tokenizer.get("pre_tokenizer"))
    decoded = _growth(tokenizer.get("decoder"))
    for factor in (encoded, decoded):
        if factor > MAX_GROWTH:
            problem = f"it makes up to {factor:,.0f} characters from one; at most {MAX_GROWTH} are allowed"
    if problem is not None:
        raise ModelError(f"model.path '{path}': tokenizer.json: {problem}")
    return encoded


def _problem(tokenizer: Mapping[str, Any]) -> str | None:
    """Return the first other setting that exceeds its limit; None if there is none."""
    for part in _parts([tokenizer.get(step) for step in (*STEPS, "post_processor")]):
        for name, value in part.items():
            if isinstance(value, str) and name != "precompiled_charsmap" and len(value) > MAX_TEXT:
                return f"{name} has {len(value):,} characters; at most {MAX_TEXT:,} are allowed"
        if part.get("type") == "Precompiled" and _charsmap(part) is None:
            return "its precompiled_charsmap is damaged"
        repeats = _repeats(part.get("pattern"))
        if repeats > MAX_REPEATS:
            return f"a pattern counts {repeats:,} repetitions; at most {MAX_REPEATS:,} are allowed"
        problem = _added_tokens(part)
        if problem is not None:
            return problem
    model = tokenizer.get("model")
    for name, value in model.items() if isinstance(model, Mapping) else ():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            return f"model.{name} has {len(value):,} characters; at most {MAX_TEXT:,} are allowed"
    return _padding(tokenizer.get("padding"))


def _parts(found: list[Any]) -> Iterator[Mapping[str, Any]]:
    waiting = list(found)
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            for name in CHILDREN:
                children = part.get(name)
                waiting += children if isinstance(children, list) else []


def _growth(part: Any) -> float:
    """Return the maximum number of characters that a step produces from one."""
    if not isinstance(part, Mapping):
        return 1.0
    children = next((part[name] for name in CHILDREN if isinstance(part.get(name), list)), None)
    if children is not None:
        return math.prod(_growth(child) for child in children)
    match part.get("type"):
        case "Replace":
            return _replaced(part.get("pattern"), str(part.get("content", "")))
        case "ByteLevel":
            return 2.0
        case "Precompiled":
            return float(max(map(len, _charsmap(part) or [b"x"])) or 1)
        case _:
            return 1.0


def _replaced(pattern: Any, content: str) -> float:
    text = pattern.get("String") if isinstance(pattern, Mapping) else None
    if isinstance(text, str):
        return max(1.0, len(content) / len(text)) if text else 1.0 + len(content)
    return 1.0 + len(content)  # a regular expression may match the empty text before every character


def _charsmap(part: Mapping[str, Any]) -> list[bytes] | None:
    """Return the texts of SentencePiece's character map; None if the map is damaged.

    The map holds the size of a trie, the trie, and zero-terminated texts. The tokenizers library trusts the
    size, so a wrong size aborts the process.
    """
    try:
        blob = base64.b64decode(part.get("precompiled_charsmap") or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        return None
    size = int.from_bytes(blob[:4], "little")
    if len(blob) < 8 or not 0 < size <= len(blob) - 4 or size % 4:
        return None
    return blob[4 + size :].split(b"\0")


def _added_tokens(part: Mapping[str, Any]) -> str | None:
    """Return a message if a post-processor adds too much around a text."""
    for form in ("single", "pair"):
        pieces = part.get(form)
        if not isinstance(pieces, list):
            continue
        copies = sum(isinstance(piece, Mapping) and "Sequence" in piece for piece in pieces)
        if copies > MAX_COPIES or len(pieces) > MAX_TEXT:
            return f"post_processor.{form} has {len(pieces):,} pieces with {copies:,} copies of the text"
    tokens = part.get("special_tokens")
    for name, token in tokens.items() if isinstance(tokens, Mapping) else ():
        ids = token.get("ids") if isinstance(token, Mapping) else None
        if isinstance(ids, list) and len(ids) > MAX_TEXT:
            limit = f"at most {MAX_TEXT:,} are allowed"
            return f"post_processor inserts {len(ids):,} tokens for {str(name)[:40]}; {limit}"
    return None


def _padding(padding: Any) -> str | None:
    if not isinstance(padding, Mapping):
        return None
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, Mapping) else 0
    longest = max((n for n in (fixed, padding.get("pad_to_multiple_of")) if isinstance(n, int)), default=0)
    return (
        f"it pads to {longest:,} tokens; at most {MAX_PADDED:,} are allowed" if longest > MAX_PADDED else None
    )


def _repeats(pattern: Any) -> int:
    """Return the product of all counted repetitions of a regular expression, the bound for nested ones."""
    text = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    if not isinstance(text, str):
        return 0
    found = [numbers for numbers in REPEATED.findall(text) if any(numbers)]
    return math.prod(max(int(n[:9]) for n in numbers if n) for numbers in found)
