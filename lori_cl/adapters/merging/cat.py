"""`cat`: concatenate the adapters, ΔW = Σ wᵢ ΔWᵢ exactly."""

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
    """Concatenate the A and the weighted B; B that share one A are summed.

    Their sum gives the same ΔW as the concatenation, without increasing the rank.
    Source: LoRI (Zhang et al. 2025), concatenated merging.
    """
    return combine_per_a(factors, weights, weighted_sum)


def combine_per_a(factors: Sequence[Factors], weights: Sequence[float], combine: CombineB) -> Factors:
    """Combine the B that share one A, and concatenate the distinct A."""
    groups = groups_by_a(factors)
    padded = widened(factors, groups)
    combined = [combine([padded[i].scaled_b() for i in g], [weights[i] for i in g]) for g in groups]
    return Factors(
        a=torch.cat([padded[group[0]].a for group in groups]),  # (Σr, d_in)
        b=torch.cat(combined, dim=1),  # (out, Σr)
        scaling=1.0,
    )


def groups_by_a(factors: Sequence[Factors]) -> list[list[int]]:
    """Group the positions of adapters whose A are bitwise equal in the rows that both have.

    An A that grew keeps its first rows.
    """
    groups: list[list[int]] = []
    for position, each in enumerate(factors):
        matches = (group for group in groups if _same_first_rows(_longest(factors, group), each.a))
        match = next(matches, None)
        if match is None:
            groups.append([position])
        else:
            match.append(position)
    return groups


def widened(factors: Sequence[Factors], groups: Sequence[Sequence[int]]) -> list[Factors]:
    """Give the adapters of each group its longest A; their B is padded with zeros."""
    padded = list(factors)
    for group in groups:
        a = _longest(factors, group)
        for i in group:
            b = functional.pad(factors[i].b, (0, len(a) - len(factors[i].a)))
            padded[i] = factors[i]._replace(a=a, b=b)
    return padded


def _longest(factors: Sequence[Factors], group: Sequence[int]) -> Float[Tensor, "r d_in"]:
    return max((factors[i].a for i in group), key=len)


def _same_first_rows(one: Float[Tensor, "r d_in"], other: Float[Tensor, "q d_in"]) -> bool:
    """Return whether the shorter one equals the first rows of the longer one."""
    rows = min(len(one), len(other))
    return torch.equal(one[:rows], other[:rows])


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return Σ wᵢ Tᵢ."""
    total: Tensor = task_arithmetic(list(tensors), torch.tensor(weights))
    return total
