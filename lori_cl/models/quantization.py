"""Base models that are quantised: when they are loaded, with bitsandbytes, or already in their files.

Source: QLoRA (Dettmers et al. 2023) for training an adapter on quantised weights.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from lori_cl.errors import ModelError
from lori_cl.model_traits import is_quantized
from lori_cl.runtime.distributed import device
from lori_cl.spec import ModelSpec

PACKAGES: Mapping[str, Sequence[str]] = {
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "torchao": ("torchao",),
    "bitsandbytes": ("bitsandbytes",),
}
"""The packages that load checkpoints of a method of quantisation."""

REPACKED = frozenset({"gptq", "awq"})
"""Methods whose packages change the form of the weights in memory to suit the device."""


def quantization_options(spec: ModelSpec, config: Any) -> dict[str, Any]:
    """Return the options of `from_pretrained` that quantise the model as `spec.quantization` says.

    `config` is the model's configuration, None if it cannot be read.

    Raises: ModelError, if bitsandbytes is not installed, or the checkpoint is quantised already.
    """
    settings = spec.quantization
    if settings is None:
        return _options_of_quantized(spec, config)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("model.quantization needs bitsandbytes: pip install 'lori-cl[quantization]'")
    if is_quantized(config):
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
    return {"quantization_config": quantization, **_placement(spec)}


def _placement(spec: ModelSpec) -> dict[str, Any]:
    return {} if spec.device_map is not None else {"device_map": {"": device()}}


def _options_of_quantized(spec: ModelSpec, config: Any) -> dict[str, Any]:
    """Return the options that load a checkpoint that is quantised already; none for other checkpoints.

    Raises: ModelError, naming the packages that are missing.
    """
    method = quantization_method(config)
    if method is None:
        return {}
    missing = [name for name in PACKAGES.get(method, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"model.path '{spec.path}' is quantised with {method}, which needs packages that are not "
            f"installed: pip install {' '.join(missing)}"
        )
    return _placement(spec)


def quantization_method(config: Any) -> str | None:
    """Return how a checkpoint is quantised, such as 'gptq', by its configuration; None if it is not."""
    if not is_quantized(config):
        return None
    settings = config.quantization_config
    found = settings.get("quant_method") if isinstance(settings, Mapping) else settings.quant_method
    return str(getattr(found, "value", found))


def check_trainable(spec: ModelSpec, model: Any) -> None:
    """Check that an adapter can be trained on the quantised weights.

    Raises: ModelError.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_trainable:
        raise ModelError(
            f"model.path '{spec.path}' is quantised with {quantization_method(model.config)} in a form on "
            "which no adapter can be trained; use weights of 8 bits, or unquantised weights with "
            "model.quantization"
        )
