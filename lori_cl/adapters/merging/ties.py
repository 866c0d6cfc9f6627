"""`ties`: trim each adapter, elect a sign for each entry, average those that have it."""

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
    """The mean over those of the elected sign, of the trimmed and weighted tensors.

    Where only one tensor is not zero, as with disjoint masks, there is nothing to elect: it is Σ wᵢ Tᵢ there.
    Source: TIES (Yadav et al. 2023); PEFT, `merge_utils.ties`.
    """
    return elected_mean([pruned(tensor, density, "magnitude") for tensor in tensors], weights)


def elected_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Of each entry, the sign of its sum wins; the mean of wᵢ Tᵢ over those that have it."""
    stacked = torch.stack(list(tensors))  # (n, ...)
    elected = calculate_majority_sign_mask(stacked, method="total")
    weighted = stacked * reshape_weight_task_tensors(stacked, torch.tensor(weights))
    mean: Tensor = disjoint_merge(weighted, elected)
    return mean
