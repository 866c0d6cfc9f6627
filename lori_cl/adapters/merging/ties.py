"""`ties`: trim each adapter, elect a sign for each entry, and average the values with that sign."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft.utils.merge_utils import (
    calculate_majority_sign_mask,
    disjoint_merge,
    reshape_weight_task_tensors,
)
from torch import Tensor

from lori_cl.adapters.merging.pruning import pruned


def ties(tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Return the mean of the trimmed and weighted values that have the elected sign.

    Where only one tensor is non-zero, as with disjoint masks, the result is Σ wᵢ Tᵢ.
    Source: TIES (Yadav et al. 2023); PEFT, `merge_utils.ties`.
    """
    return elected_mean([pruned(tensor, density, "magnitude") for tensor in tensors], weights)


def elected_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Elect the sign of each entry's sum; return the mean of wᵢ Tᵢ over the tensors with that sign."""
    stacked = torch.stack(list(tensors))  # (n, ...)
    elected = calculate_majority_sign_mask(stacked, method="total")
    weighted = stacked * reshape_weight_task_tensors(stacked, torch.tensor(weights))
    mean: Tensor = disjoint_merge(weighted, elected)
    return mean
