"""The implementation of attention that a base model is loaded with."""

from __future__ import annotations

import importlib.util
from typing import Any

from lori_cl.errors import ModelError
from lori_cl.runtime.distributed import device
from lori_cl.spec import ModelSpec

FLASH_ATTENTION_2 = "flash_attention_2"


def attention_options(spec: ModelSpec) -> dict[str, Any]:
    """Return the options of `from_pretrained` that select `spec.attention`.

    Raises: ModelError, if FlashAttention 2 cannot run here.
    """
    if spec.attention is None:
        return {}
    if spec.attention == FLASH_ATTENTION_2:
        _check_flash_attention()
    return {"attn_implementation": spec.attention}


def _check_flash_attention() -> None:
    # transformers would download another implementation from the hub if the package is missing.
    problem = None
    if device().type != "cuda":
        problem = f"needs a CUDA device, and this process uses {device().type}"
    elif importlib.util.find_spec("flash_attn") is None:
        problem = "needs the package flash-attn, which is not installed: pip install flash-attn"
    if problem:
        raise ModelError(f"model.attention: {FLASH_ATTENTION_2} {problem}; or set model.attention: sdpa")
