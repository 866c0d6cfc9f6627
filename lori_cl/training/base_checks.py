"""Whether a base model that could be loaded is one that the tasks can stand on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from lori_cl.adapters import word_table
from lori_cl.errors import ModelError
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture


def check_whole(spec: ModelSpec, architecture: Architecture, info: Mapping[str, Any]) -> None:
    """Make sure that no weight was drawn at random because the files do not hold it.

    Raises: ModelError.
    """
    drawn = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    drawn += sorted(str(key) for key in info["mismatched_keys"])
    if drawn:
        raise ModelError(
            f"model.path '{spec.path}' does not hold {len(drawn)} of the weights of a model of type "
            f"{architecture}: {', '.join(drawn[:3])}{', …' if len(drawn) > 3 else ''}; "
            "name a model that was saved whole, as the type that the tasks need"
        )


def check_architecture(spec: ModelSpec, architecture: Architecture, config: Any) -> None:
    """Make sure that an encoder is one: a decoder's states never saw what follows them.

    Raises: ModelError.
    """
    kind = config.model_type
    decodes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if architecture == "encoder" and (decodes or config.is_encoder_decoder):
        raise ModelError(
            f"model.path '{spec.path}' is a {kind}, which is no encoder; "
            "classification tasks need one, such as a BERT or a MiniLM"
        )


def check_tokenizer(
    spec: ModelSpec, architecture: Architecture, tokenizer: Any, model: Any, files: Mapping[str, str]
) -> None:
    """Make sure that the tokenizer came with the model, pads, ends, and knows no more tokens than it.

    Raises: ModelError.
    """
    problem = None
    embedded = word_table(model).shape[0]
    if not files.keys() & {"tokenizer.json", *tokenizer.vocab_files_names.values()}:
        problem = "has no tokenizer files; save the tokenizer beside the weights"
    elif tokenizer.pad_token_id is None:
        problem = "has a tokenizer with neither a pad nor an eos token; set its pad_token"
    elif architecture == "causal-lm" and tokenizer.eos_token_id is None:
        problem = "has a tokenizer without an eos token, so no answer would ever end; set its eos_token"
    elif len(tokenizer) > embedded:
        problem = f"embeds {embedded:,} tokens and its tokenizer has {len(tokenizer):,}: another model's"
    if problem:
        raise ModelError(f"model.path '{spec.path}' {problem}")
