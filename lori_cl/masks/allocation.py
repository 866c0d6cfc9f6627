"""Exactly k of the free cells, by score."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lori_cl.masks.ledger import Ledger
from lori_cl.masks.mask import Mask


def cell_budget(density: float, cells: int) -> int:
    """How many cells one task gets: round(density · cells), at least one."""
    return max(1, round(density * cells))


def allocate(ledger: Ledger, task: str, scores: Float[Tensor, "cells"], k: int) -> Mask:
    """Give the task the k free cells with the highest scores.

    Raises: CapacityExhausted, if fewer than k cells are free.
    """
    ledger.require(task, k)
    return Mask.from_flat(top_free(scores, ledger.free(), k), ledger.shapes)


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
