"""PEFT's pruning, applied to the non-zero entries."""

from __future__ import annotations

from typing import Literal

import torch
from peft.utils.merge_utils import prune
from torch import Tensor


def pruned(tensor: Tensor, density: float, method: Literal["magnitude", "random"]) -> Tensor:
    """Keep a fraction of the non-zero entries: the largest, or random ones, divided by the density.

    `magnitude` keeps ⌊density · entries⌋, rounded as in PEFT; `random` draws from the CPU's generator.
    """
    if density == 1:  # PEFT would warn and return it unchanged
        return tensor
    result = torch.zeros_like(tensor)
    nonzero = tensor != 0
    result[nonzero] = prune(tensor[nonzero], density, method, rescale=method == "random")
    return result
