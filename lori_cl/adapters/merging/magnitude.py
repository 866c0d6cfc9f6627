"""`magnitude`: keep the largest entries of each adapter, and add."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lori_cl.adapters.merging.cat import weighted_sum
from lori_cl.adapters.merging.pruning import pruned


def magnitude(tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Return Σ wᵢ prune(Tᵢ).

    Source: PEFT, `merge_utils.magnitude_prune`.
    """
    return weighted_sum([pruned(tensor, density, "magnitude") for tensor in tensors], weights)
