"""`linear-of-factors`: the method that PEFT calls `linear`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lori_cl.adapters.merging.base import Factors
from lori_cl.adapters.merging.cat import groups_by_a, weighted_sum, widened
from lori_cl.errors import InputError


def linear_of_factors(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """Return A = Σ ±√|wᵢsᵢ| Aᵢ and B = Σ √|wᵢsᵢ| Bᵢ, summed separately; sᵢ is an adapter's scaling.

    This does not merge the updates: the product contains every cross term Bᵢ Aⱼ. If n adapters share one A
    and the weights are equal, it is n times the sum of the updates. With distinct A it is not a sum of them.
    It is included because LoRI's published scripts offer it.
    Source: PEFT, `add_weighted_adapter(combination_type="linear")`.
    Raises: InputError, if the ranks differ.
    """
    factors = widened(factors, groups_by_a(factors))
    ranks = [each.a.shape[0] for each in factors]
    if len(set(ranks)) > 1:
        raise InputError(
            f"linear-of-factors needs equal ranks, but the adapters have {', '.join(map(str, ranks))}; "
            "use --method cat"
        )
    scales = [weight * each.scaling for weight, each in zip(weights, factors, strict=True)]
    roots = [math.sqrt(abs(scale)) for scale in scales]
    signed = [math.copysign(root, scale) for root, scale in zip(roots, scales, strict=True)]
    return Factors(
        a=weighted_sum([each.a for each in factors], signed),
        b=weighted_sum([each.b for each in factors], roots),
        scaling=1.0,
    )
