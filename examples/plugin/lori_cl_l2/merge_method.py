"""A merge method: of every entry, keep the value with the largest magnitude."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lori_cl.adapters.merging import PruningMerge
from lori_cl.adapters.merging.pruning import pruned


def largest(tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Prune and weight the tensors, and return the value with the largest magnitude of every entry.

    With disjoint masks, at most one tensor has a value in an entry, so the result is the weighted sum.
    """
    kept = [w * pruned(tensor, density, "magnitude") for w, tensor in zip(weights, tensors, strict=True)]
    stacked = torch.stack(kept)  # (n, ...)
    winner = stacked.abs().argmax(dim=0, keepdim=True)  # (1, ...)
    return stacked.gather(0, winner).squeeze(0)


LARGEST = PruningMerge(largest, elects_signs=True)  # compares entries, so their A must be the same
