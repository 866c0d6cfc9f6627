"""Find, load, check and digest the frozen base model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.errors import LoriError, ModelError, first_line
from lori_cl.model_traits import is_quantized
from lori_cl.models.architecture import decoder_start_of, read_config, resolve_architecture
from lori_cl.models.attention import attention_options
from lori_cl.models.base_checks import check_architecture, check_tokenizer, check_weights_complete
from lori_cl.models.base_probe import probe_base
from lori_cl.models.context_length import text_config
from lori_cl.models.gguf import GGUF_NAME, add_chat_template, check_gguf, gguf_options, silence_gguf
from lori_cl.models.location import ModelLocation, find_file, locate_model
from lori_cl.models.model_folder_limits import (
    bounded_model,
    check_config_file,
    check_tokenizer_file,
    guard_tokenizer,
    no_panic,
)
from lori_cl.models.placement import place, placement_options, weights_of
from lori_cl.models.quantization import (
    REPACKED,
    check_trainable,
    quantization_method,
    quantization_options,
)
from lori_cl.models.sharded_base import check_shardable, load_everywhere, place_weights, shard_options
from lori_cl.models.tokenizer_checks import make_deterministic_tokenizer
from lori_cl.models.weights_size import check_memory, weights_files
from lori_cl.runtime.memory import memory_errors
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture
from lori_cl.tasks.kinds.decoding import end_token_ids
from lori_cl.tasks.kinds.encoder_decoder import set_decoder_start

log = logging.getLogger(__name__)

CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Files that determine how the weights are used; a tokenizer's vocabulary files are added to them."""

LOADERS = {
    "encoder": AutoModel,
    "causal-lm": AutoModelForCausalLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,
}


@dataclass(frozen=True)
class BaseModel:
    """The base model of a run."""

    model: Any
    """A transformers model; all its weights are frozen."""
    architecture: Architecture
    """`seq2seq-lm` if the tasks need a causal language model and this is an encoder-decoder model."""
    tokenizer: Any
    width: int
    """Size of its hidden states."""
    context: int
    """Maximum number of tokens it can read."""
    ignores_padding: bool
    """Whether padding leaves a text's output unchanged; otherwise every text is read alone."""
    digest: str
    """SHA-256 of every weight (name, dtype, shape, bytes) and of the files in `CONFIG_FILES`. With GPTQ and
    AWQ, it covers the files of the weights instead."""


def load_base(spec: ModelSpec, architecture: Architecture) -> BaseModel:
    """Load a base model from safetensors files or a GGUF file, without running remote code.

    The weights of a GGUF file are dequantised to `spec.dtype`. An encoder-decoder model in a folder is loaded
    as `seq2seq-lm` instead of `causal-lm`.

    Raises: ModelError, if the model is missing, has another architecture or lacks weights; OutOfMemory.
    """
    with memory_errors(f"loading model.path '{spec.path}'"):
        return _load_base(spec, architecture)


def _load_base(spec: ModelSpec, architecture: Architecture) -> BaseModel:
    location = locate_model(spec)
    check_shardable(spec, location)
    tokenizer, growth = _read_tokenizer(spec, location)  # checks the files first
    config = read_config(location, spec.revision)
    _prepare_tokenizer(spec, tokenizer, growth, config)
    model, architecture = load_everywhere(lambda: _load_model(spec, architecture, location, config))
    if getattr(model, "pooler", None) is not None:
        # Mean pooling does not use the pooler, so a site in it would not train. Some models always call it.
        model.pooler = nn.Identity()
    for part in (model.config, text_config(model.config)):
        part.return_dict = True  # config.json can request tuples, which lori_cl does not support
    if architecture == "seq2seq-lm":
        # Its loss is the mean over one batch. Because its forward has **kwargs, the Trainer would not divide
        # the loss by the number of accumulated batches.
        model.accepts_loss_kwargs = False
    model.requires_grad_(False)
    files = _file_digests(location, spec.revision, tokenizer)
    check_tokenizer(spec, architecture, tokenizer, model, files)
    if architecture != "encoder":
        end_token_ids(model, tokenizer)  # raises an error before training starts
    weights = place_weights(model, lambda: place(spec, model), lambda: _weights_digest(spec, location, model))
    probe = probe_base(spec, architecture, model, tokenizer)
    return BaseModel(
        model=model,
        architecture=architecture,
        tokenizer=tokenizer,
        width=probe.width,
        context=probe.context,
        ignores_padding=probe.ignores_padding,
        digest=digest.of_json({"weights": weights, "files": files}),
    )


def _weights_digest(spec: ModelSpec, location: ModelLocation, model: Any) -> Any:
    """Return the SHA-256 of the weights in memory, or of their files if the form in memory varies."""
    if quantization_method(model.config) not in REPACKED or location.gguf is not None:
        return tensors_digest(weights_of(model))
    files = {file.name: digest.of_file(file) for file in weights_files(location.repository, spec.revision)}
    return {"dtype": spec.dtype, "files": files}


def load_unchanged(spec: ModelSpec, architecture: Architecture) -> tuple[Any, Any]:
    """Load the model with all its parts, and its tokenizer, as the files have them: to be saved again.

    It is on the CPU. Raises: ModelError, see `load_base`.
    """
    spec = spec.model_copy(update={"device_map": None, "max_memory": None})
    place = locate_model(spec)
    tokenizer, _ = _read_tokenizer(spec, place)
    model, _ = _load_model(spec, architecture, place, read_config(place, spec.revision))
    return model, tokenizer


def _load_model(
    spec: ModelSpec, architecture: Architecture, place: ModelLocation, config: Any
) -> tuple[Any, Architecture]:
    """Return the model, and its architecture: see `resolve_architecture`; `config` is its configuration."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)  # it warns of offloaded weights
    options = {"dtype": getattr(torch, spec.dtype), "revision": spec.revision, "trust_remote_code": False}
    options |= {**attention_options(spec), **placement_options(spec)}
    if place.gguf is None:
        options |= {"use_safetensors": True, **quantization_options(spec, config)}
    else:
        options |= gguf_options(place.gguf)
    options |= shard_options()
    architecture = resolve_architecture(spec, architecture, config)
    check_memory(spec, place)
    try:
        with (
            memory_errors(f"loading model.path '{spec.path}'"),
            bounded_model(spec.path, place, spec.revision, quantized=is_quantized(config)),
            silence_gguf(place.gguf),
        ):
            model, info = LOADERS[architecture].from_pretrained(
                place.repository, output_loading_info=True, **options
            )
    except LoriError:
        raise
    except Exception as error:  # transformers and its libraries raise any type for a damaged file
        raise _unloadable(spec, f"as {architecture}", error) from error
    check_weights_complete(spec, architecture, info)
    check_architecture(spec, architecture, model.config)
    check_trainable(spec, model)
    return model, architecture


def _file_digests(place: ModelLocation, revision: str | None, tokenizer: Any) -> dict[str, str]:
    """Return the SHA-256 of each file that determines how the weights are used, by name."""
    if place.gguf is not None:
        return {GGUF_NAME: digest.of_file(place.gguf)}
    found = {}
    for name in sorted({*CONFIG_FILES, *tokenizer.vocab_files_names.values()}):
        file = find_file(place.repository, name, revision)
        if file is not None:
            found[name] = digest.of_file(file)
    return found


def load_tokenizer(spec: ModelSpec) -> Any:
    """Load the model's tokenizer; without a pad token, it pads with the eos token.

    Raises: ModelError, if the tokenizer is missing or encodes at random.
    """
    place = locate_model(spec)
    tokenizer, growth = _read_tokenizer(spec, place)
    _prepare_tokenizer(spec, tokenizer, growth, read_config(place, spec.revision))
    return tokenizer


def _prepare_tokenizer(spec: ModelSpec, tokenizer: Any, growth: float, config: Any) -> None:
    """Set the pad token and the decoder's first tokens, and guard the tokenizer against hostile texts."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    guard_tokenizer(spec.path, tokenizer, growth)
    make_deterministic_tokenizer(spec.path, tokenizer)
    start = decoder_start_of(config)
    if start is not None:
        set_decoder_start(tokenizer, start)


def _read_tokenizer(spec: ModelSpec, place: ModelLocation) -> tuple[Any, float]:
    """Return the tokenizer as its files have it, and how many times longer it may make a text."""
    options = {"revision": spec.revision, "trust_remote_code": False}
    if place.gguf is None:
        check_config_file(spec.path, find_file(place.repository, "config.json", spec.revision))
        growth = check_tokenizer_file(spec.path, find_file(place.repository, "tokenizer.json", spec.revision))
    else:
        check_gguf(spec.path, place.gguf)
        options |= {"gguf_file": str(place.gguf)}
        growth = 1.0
    try:
        with no_panic(spec.path, "to load"):
            tokenizer = AutoTokenizer.from_pretrained(place.repository, **options)
    except LoriError:
        raise
    except Exception as error:  # transformers and its libraries raise any type for a damaged file
        raise _unloadable(spec, "with its tokenizer", error) from error
    if place.gguf is not None:
        add_chat_template(spec.path, tokenizer)
    return tokenizer, growth


def _unloadable(spec: ModelSpec, how: str, error: Exception) -> ModelError:
    return ModelError(f"model.path '{spec.path}' cannot be loaded {how}: {first_line(error)}")
