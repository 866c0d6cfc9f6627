"""Digests of the token ids that a model reads for a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from lori_cl.digest import canonical_json
from lori_cl.errors import DataError
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import kind_of

FIRST_REPEATS = 16
"""Encodings of the first example; two would often agree for a template that chooses between two texts."""


def encoding_digest(eval_task: EvalTask, tokenizer: Any) -> str:
    """SHA-256 of every token id that a score of the eval task depends on, including labels and choices.

    Each example is encoded twice, the first one `FIRST_REPEATS` times.
    Raises: DataError, naming the first example whose second encoding differs.
    """
    kind = kind_of(eval_task.spec)
    sha256 = hashlib.sha256(_line(kind.shared_tokens(eval_task.spec, tokenizer)))
    for position, example in enumerate(eval_task.examples):
        first, *others = (
            _line(kind.scored_tokens(eval_task.spec, tokenizer, example, eval_task.max_length))
            for _ in range(2 if position else FIRST_REPEATS)
        )
        if any(other != first for other in others):
            raise DataError(
                f"task '{eval_task.label}', row {example.id + 1}: the model's tokenizer or its chat template "
                "encodes the same text differently each time, so no score could be reproduced; "
                "use a tokenizer without sampling and a template without random choices"
            )
        sha256.update(first)
    return sha256.hexdigest()


def features_digest(fields: Iterable[Any]) -> str:
    """SHA-256 of training examples as token ids and labels."""
    sha256 = hashlib.sha256()
    for example in fields:
        sha256.update(_line(example))
    return sha256.hexdigest()


def _line(value: Any) -> bytes:
    return canonical_json(value).encode() + b"\n"
