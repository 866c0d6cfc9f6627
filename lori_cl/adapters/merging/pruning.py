"""Pruning by PEFT, counted over what is not zero."""

from __future__ import annotations

from typing import Literal

import torch
from peft.utils.merge_utils import prune
from torch import Tensor


def pruned(tensor: Tensor, density: float, method: Literal["magnitude", "random"]) -> Tensor:
    """Keep a fraction of the non-zero entries: the largest, or each by chance and divided by the density.

    `magnitude` keeps ⌊density · entries⌋, as PEFT rounds; `random` draws from the CPU's generator.
    """
    if density == 1:  # PEFT warns, and returns it as it is
        return tensor
    kept = torch.zeros_like(tensor)
    cells = tensor != 0
    kept[cells] = prune(tensor[cells], density, method, rescale=method == "random")
    return kept
