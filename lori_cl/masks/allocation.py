"""Exactly k of the free cells, by score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lori_cl.masks.granularity import cells_of_groups
from lori_cl.masks.ledger import Ledger
from lori_cl.masks.mask import Mask


def cell_budget(density: float, cells: int) -> int:
    """How many cells one task gets: round(density · cells), at least one."""
    return max(1, round(density * cells))


def allocate(
    ledger: Ledger, task: str, scores: Float[Tensor, "cells"], k: int, granularity: str = "model"
) -> Mask:
    """Give the task k free cells: of every group of sites its share, and there those with the highest scores.

    Raises: CapacityExhausted, if fewer than k cells are free.
    """
    ledger.require(task, k)
    free = ledger.free()
    if granularity == "model":
        return Mask.from_flat(top_free(scores, free, k), ledger.shapes)
    chosen = torch.zeros_like(free)
    groups = cells_of_groups(ledger.shapes, granularity)
    wanted = shares([g.numel() for g in groups], [int(free[g].sum()) for g in groups], k)
    for group, count in zip(groups, wanted, strict=True):
        if count:
            chosen[group] = top_free(scores[group], free[group], count)
    return Mask.from_flat(chosen, ledger.shapes)


def shares(cells: Sequence[int], free: Sequence[int], k: int) -> list[int]:
    """k divided among groups in proportion to their cells, none getting more than it has free.

    What a group has no room for is divided among the others in the same way; the units that rounding down
    leaves go to the largest remainders, ties to the group that stands first.
    """
    given: dict[int, int] = {}
    rest, left, whole = list(range(len(cells))), k, sum(cells)
    while full := [g for g in rest if left * cells[g] >= free[g] * whole]:
        given |= {g: free[g] for g in full}
        rest = [g for g in rest if g not in given]
        left, whole = k - sum(given.values()), sum(cells[g] for g in rest)
    given |= {g: left * cells[g] // whole for g in rest}
    by_remainder = sorted(rest, key=lambda g: (-(left * cells[g] % whole), g))
    for g in by_remainder[: k - sum(given.values())]:
        given[g] += 1
    return [given[g] for g in range(len(cells))]


def top_free(scores: Float[Tensor, "cells"], free: Bool[Tensor, "cells"], k: int) -> Bool[Tensor, "cells"]:
    """The k free cells with the highest scores; ties go to the lower index, so a mask is reproducible.

    A threshold alone (score >= the k-th score) takes every tied cell: all of them, where all scores are 0.
    """
    assert bool(torch.isfinite(scores).all()), "a score is not a finite number"
    candidates = free.nonzero().squeeze(1)  # (free,)
    at_stake = scores[candidates]
    kth = at_stake.topk(k, sorted=False).values.min()
    above = candidates[at_stake > kth]
    tied = candidates[at_stake == kth][: k - above.numel()]
    chosen = torch.zeros_like(free)
    chosen[above] = True
    chosen[tied] = True
    return chosen
