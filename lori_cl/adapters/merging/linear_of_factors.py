"""`linear-of-factors`: what PEFT calls `linear`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lori_cl.adapters.merging.base import Factors
from lori_cl.adapters.merging.cat import groups_by_a, weighted_sum, widened
from lori_cl.errors import InputError


def linear_of_factors(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """A = Σ ±√|wᵢsᵢ| Aᵢ and B = Σ √|wᵢsᵢ| Bᵢ, each added for itself; sᵢ is an adapter's scaling.

    It is no merge of the updates: the product holds every cross term Bᵢ Aⱼ. With one A that n adapters share
    and equal weights it is the sum of the updates, n times too large; with distinct A's it is no sum of them
    at all. It is here because LoRI's published scripts offer it.
    Source: PEFT, `add_weighted_adapter(combination_type="linear")`.
    Raises: InputError, if the ranks differ.
    """
    factors = widened(factors, groups_by_a(factors))
    ranks = [each.a.shape[0] for each in factors]
    if len(set(ranks)) > 1:
        raise InputError(
            f"linear-of-factors adds A's of one rank, and these have {', '.join(map(str, ranks))}; "
            "choose --method cat"
        )
    scales = [weight * each.scaling for weight, each in zip(weights, factors, strict=True)]
    roots = [math.sqrt(abs(scale)) for scale in scales]
    signed = [math.copysign(root, scale) for root, scale in zip(roots, scales, strict=True)]
    return Factors(
        a=weighted_sum([each.a for each in factors], signed),
        b=weighted_sum([each.b for each in factors], roots),
        scaling=1.0,
    )
