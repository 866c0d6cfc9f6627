"""Layers that keep nothing for backward outside of training, where dropout is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

CACHES = ("past_key_values", "layer_past")
"""What a second pass through a layer must not write to again."""


@contextmanager
def recomputed(model: nn.Module) -> Iterator[None]:
    """Have every layer that gradient checkpointing knows run again in backward instead of keeping its states.

    transformers checkpoints in training mode alone, and that switches dropout on.
    """
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = partial(_forward, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own is there again


def _forward(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    uncached = {name: None for name in CACHES if name in kwargs}
    return checkpoint(forward, *args, use_reentrant=False, **{**kwargs, **uncached})
