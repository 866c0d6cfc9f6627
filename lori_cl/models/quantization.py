"""Base models that are quantised when they are loaded: QLoRA (Dettmers et al. 2023), with bitsandbytes."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from lori_cl.errors import ModelError
from lori_cl.runtime.distributed import device
from lori_cl.spec import ModelSpec


def quantization_options(spec: ModelSpec, config: Any) -> dict[str, Any]:
    """Return the options of `from_pretrained` that quantise the model as `spec.quantization` says.

    `config` is the model's configuration, None if it cannot be read.

    Raises: ModelError, if bitsandbytes is not installed, or the checkpoint is quantised already.
    """
    settings = spec.quantization
    if settings is None:
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("model.quantization needs bitsandbytes: pip install 'lori-cl[quantization]'")
    if hasattr(config, "quantization_config"):
        raise ModelError(
            f"model.path '{spec.path}' is quantised already; remove model.quantization to load it as it is"
        )
    quantization = (
        BitsAndBytesConfig(load_in_8bit=True)
        if settings.bits == 8
        else BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=settings.kind,
            bnb_4bit_use_double_quant=settings.double,
            bnb_4bit_compute_dtype=getattr(torch, spec.dtype),
        )
    )
    placement = {} if spec.device_map is not None else {"device_map": {"": device()}}
    return {"quantization_config": quantization, **placement}
