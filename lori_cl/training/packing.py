"""Packing: rows of several short examples, which a language model reads as separate texts."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import ordinary_ids, probing
from lori_cl.errors import InputError
from lori_cl.model_traits import input_device
from lori_cl.models.base_model import BaseModel
from lori_cl.tasks.kinds.encoder_decoder import IGNORED

TEXTS = (5, 8)
"""Tokens of the two texts with which `check_packing` tests a model."""

TOLERANCE = {torch.float32: 1e-4}
"""Largest difference of a packed text's logits, relative to the largest logit, by their data type."""

COARSE_TOLERANCE = 2e-2
"""The same for types of lower precision."""


@dataclass(frozen=True)
class Packing:
    """How the examples of a training job are packed."""

    max_length: int
    """Maximum number of tokens of a row."""
    pad: int
    """The token that fills rows."""

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the examples of each row: best-fit decreasing, which depends only on the lengths."""
        rows: list[list[int]] = []
        room: list[tuple[int, int]] = []  # (free tokens, row), ascending
        for example in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
            at = bisect.bisect_left(room, (lengths[example], 0))
            free, row = room.pop(at) if at < len(room) else (self.max_length, len(rows))
            if row == len(rows):
                rows.append([])
            rows[row].append(example)
            bisect.insort(room, (free - lengths[example], row))
        return rows

    def join(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
        """Return one row. The first token of an example is not predicted from the example before it."""
        return {
            "input_ids": [token for each in examples for token in each["input_ids"]],
            "labels": [label for each in examples for label in (IGNORED, *each["labels"][1:])],
            "position_ids": [position for each in examples for position in range(len(each["input_ids"]))],
        }

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad rows to a batch. The padding is a text of its own, so the batch needs no attention mask."""
        longest = max(len(row["input_ids"]) for row in rows)
        missing = [longest - len(row["input_ids"]) for row in rows]
        filler = {"input_ids": self.pad, "labels": IGNORED}
        batch: dict[str, Any] = {
            name: torch.tensor([[*row[name], *[value] * n] for row, n in zip(rows, missing, strict=True)])
            for name, value in filler.items()
        }
        positions = [[*row["position_ids"], *range(n)] for row, n in zip(rows, missing, strict=True)]
        return {**batch, "position_ids": torch.tensor(positions), **WITHOUT_CACHE}


WITHOUT_CACHE = {"use_cache": False}
"""transformers separates packed texts only in a forward pass without a cache."""


def packing_of(base: BaseModel, max_length: int) -> Packing:
    """Return how the training examples of this base model are packed."""
    return Packing(max_length, base.tokenizer.pad_token_id)


def check_packing(base: BaseModel) -> None:
    """Check that the base model reads two texts in one row as it reads each alone.

    Raises: InputError: it is not a causal language model, or it reads them as one text.
    """
    if base.architecture != "causal-lm":
        raise InputError(
            f"train.packing needs a causal language model, and the base model is of type "
            f"{base.architecture}; remove train.packing"
        )
    ids = ordinary_ids(base.model, sum(TEXTS))
    texts = (ids[: TEXTS[0]], ids[TEXTS[0] :])
    packing, device = packing_of(base, sum(TEXTS)), input_device(base.model)
    row = packing.collate([packing.join([{"input_ids": text, "labels": text} for text in texts])])
    inputs = {"input_ids": row["input_ids"].to(device), "position_ids": row["position_ids"].to(device)}
    with probing(base.model):
        packed = base.model(**inputs, **WITHOUT_CACHE).logits[0]
        alone = [base.model(input_ids=torch.tensor([text], device=device)).logits[0] for text in texts]
    if _differ(packed, torch.cat(alone)):
        raise InputError(
            f"train.packing: a model of type {base.model.config.model_type} reads packed examples as one "
            "text; remove train.packing"
        )


def _differ(packed: Float[Tensor, "T V"], alone: Float[Tensor, "T V"]) -> bool:
    tolerance = TOLERANCE.get(alone.dtype, COARSE_TOLERANCE)
    return bool((packed - alone).abs().max() > tolerance * alone.abs().max())
