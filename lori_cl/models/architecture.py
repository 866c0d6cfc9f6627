"""Recognise encoder-decoder models by their configuration."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig

from lori_cl.errors import ModelError
from lori_cl.model_traits import is_encoder_decoder
from lori_cl.models.location import ModelLocation
from lori_cl.spec import ModelSpec
from lori_cl.spec.error_messages import shown
from lori_cl.tasks.kinds import Architecture


def read_config(place: ModelLocation, revision: str | None) -> Any:
    """Return a model's configuration; None for a GGUF file, which is loaded as a causal language model only.

    A configuration that cannot be read is None, too: loading the model reports the error.
    """
    if place.gguf is not None:
        return None
    try:
        return AutoConfig.from_pretrained(place.repository, revision=revision, trust_remote_code=False)
    except Exception:  # transformers and its libraries raise any type for a damaged file
        return None


def decoder_start_of(config: Any) -> int | None:
    """Return the token with which the decoder of an encoder-decoder model begins; None for other models."""
    start = getattr(config, "decoder_start_token_id", None)
    return start if is_encoder_decoder(config) and type(start) is int and start >= 0 else None


def resolve_architecture(spec: ModelSpec, needed: Architecture, config: Any) -> Architecture:
    """Return `seq2seq-lm` if the tasks need a causal language model and the model has an encoder, too.

    Raises: ModelError, if the configuration does not say with which token its decoder begins.
    """
    if needed != "causal-lm" or not is_encoder_decoder(config):
        return needed
    if decoder_start_of(config) is None:
        value = shown(str(getattr(config, "decoder_start_token_id", None)))
        raise ModelError(
            f"model.path '{spec.path}' is a {config.model_type} whose config.json sets "
            f"decoder_start_token_id to {value}; set it to the token with which the decoder begins"
        )
    return "seq2seq-lm"
