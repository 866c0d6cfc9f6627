"""Check that a loaded base model is suitable for the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from lori_cl.adapters import token_embeddings
from lori_cl.errors import ModelError
from lori_cl.models.gguf import GGUF_NAME
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture
from lori_cl.tasks.kinds.encoder_decoder import decoder_start


def check_weights_complete(spec: ModelSpec, architecture: Architecture, info: Mapping[str, Any]) -> None:
    """Check that no weight is randomly initialised because the files do not hold it.

    Raises: ModelError.
    """
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    missing += sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise ModelError(
            f"model.path '{spec.path}' does not hold {len(missing)} of the weights of a model of type "
            f"{architecture}: {', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}; "
            "use a model that was saved completely and as the type that the tasks need"
        )


def check_architecture(spec: ModelSpec, architecture: Architecture, config: Any) -> None:
    """Check that a model used as an encoder is one: a decoder's states do not depend on later tokens.

    Raises: ModelError.
    """
    kind = config.model_type
    decodes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if architecture == "encoder" and (decodes or config.is_encoder_decoder):
        raise ModelError(
            f"model.path '{spec.path}' is a {kind}, which is not an encoder; "
            "classification tasks need an encoder, such as BERT or MiniLM, or a prompt"
        )


def check_tokenizer(
    spec: ModelSpec, architecture: Architecture, tokenizer: Any, model: Any, files: Mapping[str, str]
) -> None:
    """Check that the tokenizer came with the model, has pad and eos tokens, and fits the embeddings.

    Raises: ModelError.
    """
    problem = None
    embedded, start = token_embeddings(model).shape[0], decoder_start(tokenizer)
    if not files.keys() & {"tokenizer.json", GGUF_NAME, *tokenizer.vocab_files_names.values()}:
        problem = "has no tokenizer files; save the tokenizer in the model's folder"
    elif tokenizer.pad_token_id is None:
        problem = "has a tokenizer with neither a pad nor an eos token; set its pad_token"
    elif architecture != "encoder" and tokenizer.eos_token_id is None:
        problem = "has a tokenizer without an eos token, so no answer would end; set its eos_token"
    elif any(token >= embedded for token in start):
        problem = (
            f"embeds {embedded:,} tokens, so its decoder cannot begin with token {max(start)}; "
            "use the decoder_start_token_id that belongs to the weights"
        )
    elif len(tokenizer) > embedded:
        problem = (
            f"embeds {embedded:,} tokens but its tokenizer has {len(tokenizer):,}; use its own tokenizer"
        )
    if problem:
        raise ModelError(f"model.path '{spec.path}' {problem}")
