"""The token ids that a model reads for a task, as one digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from lori_cl.digest import canonical_json
from lori_cl.errors import DataError
from lori_cl.tasks import kind_of
from lori_cl.training.evaluate import Question

FIRST_TIMES = 16
"""Encodings of the first example: a template that draws one of two texts gives equal ones too easily."""


def encoding_digest(question: Question, tokenizer: Any) -> str:
    """SHA-256 of every token id that a score of the question depends on, labels and choices included.

    Each example is encoded twice, and the first one more often.
    Raises: DataError, naming the first example whose second encoding differs.
    """
    kind = kind_of(question.spec)
    sha256 = hashlib.sha256(_line(kind.shared_tokens(question.spec, tokenizer)))
    for position, example in enumerate(question.examples):
        first, *others = (
            _line(kind.scored_tokens(question.spec, tokenizer, example, question.max_length))
            for _ in range(2 if position else FIRST_TIMES)
        )
        if any(other != first for other in others):
            raise DataError(
                f"task '{question.label}', row {example.id + 1}: the model's tokenizer or its chat template "
                "encodes the same text differently each time, so no score could be reproduced; "
                "use a tokenizer without sampling and a template without random choices"
            )
        sha256.update(first)
    return sha256.hexdigest()


def features_digest(fields: Iterable[Any]) -> str:
    """SHA-256 of training examples as token ids and labels."""
    sha256 = hashlib.sha256()
    for of in fields:
        sha256.update(_line(of))
    return sha256.hexdigest()


def _line(value: Any) -> bytes:
    return canonical_json(value).encode() + b"\n"
