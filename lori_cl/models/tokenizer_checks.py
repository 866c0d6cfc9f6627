"""Make tokenizers with random segmentation deterministic, or reject them."""

from __future__ import annotations

import logging
from typing import Any

from lori_cl.errors import ModelError

log = logging.getLogger(__name__)

SAMPLING = {"dropout": "BPE dropout", "alpha": "unigram sampling", "nbest_size": "unigram sampling"}
"""Fields of a `tokenizers` model that make its output random, and the names of the techniques."""

PROBE = (
    "The quick brown fox jumps over the lazy dog, and 1,234 reviewers disagree about whether unbelievably "
    "internationalised words such as 'reproducibility' were tokenised the same way twice."
)
"""A text with many possible segmentations."""

PROBES = 16
"""Number of encodings that are compared."""


def make_deterministic_tokenizer(path: str, tokenizer: Any) -> None:
    """Disable random segmentation, which is a training technique.

    Raises: ModelError, if the tokenizer still encodes one text in several ways.
    """
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    for field, name in SAMPLING.items():
        value = getattr(model, field, None)
        if value:
            setattr(model, field, None)
            log.warning("model.path '%s': disabled its tokenizer's %s (%s: %s)", path, name, field, value)
    if _samples(tokenizer) or len({tuple(tokenizer(PROBE)["input_ids"]) for _ in range(PROBES)}) > 1:
        raise ModelError(
            f"model.path '{path}' has a tokenizer that encodes the same text differently each time; "
            "disable sampling: remove enable_sampling from sp_model_kwargs in tokenizer_config.json"
        )


def _samples(tokenizer: Any) -> bool:
    """Whether a SentencePiece tokenizer samples; a fast tokenizer does not read this setting."""
    settings = getattr(tokenizer, "sp_model_kwargs", None) or {}
    return not tokenizer.is_fast and bool(settings.get("enable_sampling"))
