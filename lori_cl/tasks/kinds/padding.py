"""Pad token lists of different lengths to one batch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor


def left_padded(
    prompts: Sequence[Sequence[int]], filler: int, device: Any
) -> tuple[Int64[Tensor, "B P"], Int64[Tensor, "B P"]]:
    """Return (ids, mask), padded on the left, so that every answer directly follows its prompt."""
    longest = max(map(len, prompts))
    ids = [[filler] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def right_padded(
    prompts: Sequence[Sequence[int]], filler: int, device: Any
) -> tuple[Int64[Tensor, "B P"], Int64[Tensor, "B P"]]:
    """Return (ids, mask), padded on the right, which affects neither causal attention nor positions."""
    longest = max(map(len, prompts))
    ids = [[*p, *[filler] * (longest - len(p))] for p in prompts]
    mask = [[1] * len(p) + [0] * (longest - len(p)) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def positions_of(model: Any, mask: Int64[Tensor, "B P"]) -> dict[str, Int64[Tensor, "B P"]]:
    """Return `position_ids` from each row's first real token; empty if the model does not accept them."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    parameters = inspect.signature(inner.forward).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    takes = "position_ids" in parameters or takes_any
    return {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if takes else {}
