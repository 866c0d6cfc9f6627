"""`dare`: drop entries at random, rescale the others, and add."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lori_cl.adapters.merging.cat import weighted_sum
from lori_cl.adapters.merging.pruning import pruned
from lori_cl.adapters.merging.ties import elected_mean


def dare(tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Return Σ wᵢ drop(Tᵢ) / density, whose expectation is the weighted sum.

    Source: DARE (Yu et al. 2024); PEFT, `merge_utils.dare_linear`.
    """
    return weighted_sum([pruned(tensor, density, "random") for tensor in tensors], weights)


def dare_ties(tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """Like `ties`, but drop entries at random instead of trimming.

    Source: PEFT, `merge_utils.dare_ties`.
    """
    return elected_mean([pruned(tensor, density, "random") for tensor in tensors], weights)
