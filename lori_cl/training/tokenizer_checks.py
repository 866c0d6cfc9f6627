"""Tokenizers that cut a text at random are made deterministic, or refused."""

from __future__ import annotations

import logging
from typing import Any

from lori_cl.errors import ModelError

log = logging.getLogger(__name__)

SAMPLING = {"dropout": "BPE dropout", "alpha": "unigram sampling", "nbest_size": "unigram sampling"}
"""Fields of a `tokenizers` model that make its output random, and what that is called."""

PROBE = (
    "The quick brown fox jumps over the lazy dog, and 1,234 reviewers disagree about whether unbelievably "
    "internationalised words such as 'reproducibility' were tokenised the same way twice."
)
"""A text with many possible segmentations."""

PROBES = 16
"""Encodings that are compared."""


def make_deterministic_tokenizer(path: str, tokenizer: Any) -> None:
    """Switch off random segmentation, which is meant for training a model and not for reading with it.

    Raises: ModelError, if the tokenizer still encodes one text in several ways.
    """
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    for field, name in SAMPLING.items():
        value = getattr(model, field, None)
        if value:
            setattr(model, field, None)
            log.warning("model.path '%s': its tokenizer's %s (%s: %s) is off", path, name, field, value)
    if _samples(tokenizer) or len({tuple(tokenizer(PROBE)["input_ids"]) for _ in range(PROBES)}) > 1:
        raise ModelError(
            f"model.path '{path}' has a tokenizer that encodes the same text differently each time; switch "
            "its sampling off: remove enable_sampling from sp_model_kwargs in tokenizer_config.json"
        )


def _samples(tokenizer: Any) -> bool:
    """Whether a SentencePiece tokenizer samples; a fast tokenizer does not read this setting."""
    settings = getattr(tokenizer, "sp_model_kwargs", None) or {}
    return not tokenizer.is_fast and bool(settings.get("enable_sampling"))
