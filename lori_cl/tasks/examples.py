"""One example as a model meets it, and how a set of them is written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lori_cl import digest


@dataclass(frozen=True)
class Example:
    """A rendered input and what is wanted for it."""

    id: int
    """Its row in the source's split, counted from 0."""
    text: str
    """The input, after the prompt template."""
    target: str
    """The label, or the answer to be written."""


def to_jsonl(examples: Sequence[Example]) -> bytes:
    """One JSON object a line."""
    return "".join(
        json.dumps(asdict(e), ensure_ascii=False, sort_keys=True) + "\n" for e in examples
    ).encode()


def from_jsonl(raw: bytes) -> list[Example]:
    """Undo `to_jsonl`."""
    # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
    return [Example(**json.loads(line)) for line in raw.decode().split("\n") if line]


def examples_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of `to_jsonl`."""
    return digest.of_bytes(to_jsonl(examples))
