"""One example as a model meets it, and how a set of them is written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lori_cl import digest

COMPLETION = "{{ completion }}"
"""The place in a program for what the model wrote."""

LATER = frozenset({"choices", "check"})
"""Fields that not every kind has."""


@dataclass(frozen=True)
class Example:
    """A rendered input and what is wanted for it."""

    id: int
    """Its row in the source's split, counted from 0."""
    text: str
    """The input, after the prompt template."""
    target: str
    """The label, the answer to be written, or the right choice."""
    choices: tuple[str, ...] = ()
    """Those of a multiple-choice task."""
    check: str = ""
    """What an answer is held against where that is not the target: a program with a place for the
    completion, or whether to `refuse` or to `answer`."""


def to_jsonl(examples: Sequence[Example]) -> bytes:
    """One JSON object a line."""
    records = (asdict(e) for e in examples)
    # Without what is empty, so that an eval set keeps its digest from before there was such a field.
    kept = ({key: value for key, value in record.items() if value or key not in LATER} for record in records)
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in kept).encode()


def from_jsonl(raw: bytes) -> list[Example]:
    """Undo `to_jsonl`."""
    # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
    records = (json.loads(line) for line in raw.decode().split("\n") if line)
    return [Example(**{**record, "choices": tuple(record.get("choices", ()))}) for record in records]


def examples_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of `to_jsonl`."""
    return digest.of_bytes(to_jsonl(examples))
