"""`cat`: the adapters side by side, ΔW = Σ wᵢ ΔWᵢ exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from peft.utils.merge_utils import task_arithmetic
from torch import Tensor
from torch.nn import functional

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
    found = groups_by_a(factors)
    wide = widened(factors, found)
    combined = [combine([wide[i].scaled_b() for i in g], [weights[i] for i in g]) for g in found]
    return Factors(
        a=torch.cat([wide[group[0]].a for group in found]),  # (Σr, d_in)
        b=torch.cat(combined, dim=1),  # (out, Σr)
        scaling=1.0,
    )


def groups_by_a(factors: Sequence[Factors]) -> list[list[int]]:
    """Positions of the adapters, those with bitwise the same A together, as far as the shorter one goes: an A
    that grew keeps its first rows."""
    groups: list[list[int]] = []
    for position, each in enumerate(factors):
        mates = (group for group in groups if _begins(_longest(factors, group), each.a))
        found = next(mates, None)
        if found is None:
            groups.append([position])
        else:
            found.append(position)
    return groups


def widened(factors: Sequence[Factors], groups: Sequence[Sequence[int]]) -> list[Factors]:
    """The same adapters, those of one group under its longest A, with B's that are zero where it grew."""
    wide = list(factors)
    for group in groups:
        a = _longest(factors, group)
        for i in group:
            b = functional.pad(factors[i].b, (0, len(a) - len(factors[i].a)))
            wide[i] = factors[i]._replace(a=a, b=b)
    return wide


def _longest(factors: Sequence[Factors], group: Sequence[int]) -> Float[Tensor, "r d_in"]:
    return max((factors[i].a for i in group), key=len)


def _begins(one: Float[Tensor, "r d_in"], other: Float[Tensor, "q d_in"]) -> bool:
    """Whether the shorter one is the first rows of the longer one."""
    rows = min(len(one), len(other))
    return torch.equal(one[:rows], other[:rows])


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ wᵢ Tᵢ."""
    total: Tensor = task_arithmetic(list(tensors), torch.tensor(weights))
    return total
