"""Facts about a transformers model that every layer with torch code needs."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import PartialState


def is_encoder_decoder(model: Any) -> bool:
    """Return whether a model, or that of a configuration, reads with an encoder and writes with a decoder.

    False for None and for a model without configuration.
    """
    return bool(getattr(getattr(model, "config", model), "is_encoder_decoder", False))


def is_quantized(config: Any) -> bool:
    """Return whether the weights of a model with this configuration are quantised."""
    return getattr(config, "quantization_config", None) is not None


def input_device(model: Any) -> torch.device:
    """Return the device of a model's inputs, outputs and heads.

    Layers of a model with a device map can be on other devices. accelerate moves the inputs to each layer,
    and the outputs back to the device of the inputs.
    """
    if device_map_of(model) is not None:
        found: torch.device = PartialState().device
        return found
    own: torch.device | None = getattr(model, "device", None)
    return next(model.parameters()).device if own is None else own


def device_map_of(model: Any) -> dict[str, Any] | None:
    """Return the device of each part of a model that accelerate spread; None for other models."""
    return getattr(model, "hf_device_map", None)


def module_device(module: Any) -> torch.device:
    """Return the device on which a Linear computes; accelerate loads an offloaded weight only for that."""
    weight = next(
        (w for name in ("weight", "qweight") if (w := getattr(module, name, None)) is not None), None
    )
    found: torch.device = next(module.parameters()).device if weight is None else weight.device
    if found.type != "meta":
        return found
    return torch.device(module._hf_hook.execution_device)
