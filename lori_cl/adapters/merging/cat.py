"""`cat`: the adapters side by side, ΔW = Σ wᵢ ΔWᵢ exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from peft.utils.merge_utils import task_arithmetic
from torch import Tensor

from lori_cl.adapters.merging.base import Factors

CombineB = Callable[[Sequence[Tensor], Sequence[float]], Tensor]


def cat(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """A's one below the other, weighted B's side by side; under an A that several share, their sum.

    The sum of B's under one A gives the same ΔW as the concatenation, and the rank does not grow.
    Source: LoRI (Zhang et al. 2025), concatenated merging.
    """
    return under_each_a(factors, weights, weighted_sum)


def under_each_a(factors: Sequence[Factors], weights: Sequence[float], combine: CombineB) -> Factors:
    """Combine the B's under each A, and set the different A's one below the other."""
    groups = groups_by_a(factors)
    combined = [combine([factors[i].scaled_b() for i in g], [weights[i] for i in g]) for g in groups]
    return Factors(
        a=torch.cat([factors[group[0]].a for group in groups]),  # (Σr, d_in)
        b=torch.cat(combined, dim=1),  # (out, Σr)
        scaling=1.0,
    )


def groups_by_a(factors: Sequence[Factors]) -> list[list[int]]:
    """Positions of the adapters, those with bitwise the same A together."""
    groups: list[list[int]] = []
    for position, each in enumerate(factors):
        mates = (group for group in groups if torch.equal(factors[group[0]].a, each.a))
        found = next(mates, None)
        if found is None:
            groups.append([position])
        else:
            found.append(position)
    return groups


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ wᵢ Tᵢ."""
    total: Tensor = task_arithmetic(list(tensors), torch.tensor(weights))
    return total
