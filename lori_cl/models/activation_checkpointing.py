"""Activation checkpointing in eval mode, where dropout is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

CACHES = ("past_key_values", "layer_past")
"""Arguments that a layer's second forward pass must not write to again."""


@contextmanager
def recompute_activations(model: nn.Module) -> Iterator[None]:
    """Make every layer that supports gradient checkpointing recompute its activations in backward.

    transformers does this only in training mode, which enables dropout.
    """
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = partial(_forward, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # restores the class's method


def _forward(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    uncached = {name: None for name in CACHES if name in kwargs}
    return checkpoint(forward, *args, use_reentrant=False, **{**kwargs, **uncached})
