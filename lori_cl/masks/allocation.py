"""Allocate exactly k free cells by score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lori_cl.errors import LoriError
from lori_cl.masks.granularity import groups_of_sites
from lori_cl.masks.ledger import Ledger
from lori_cl.masks.mask import Mask, Shapes


def allocate(
    ledger: Ledger, task: str, scores: Float[Tensor, "cells"], k: int, granularity: str = "model"
) -> Mask:
    """Allocate k free cells to the task: a share for each group of sites, by highest score within the group.

    Raises: CapacityExhausted, if fewer than k cells are free; LoriError, if the scores are not one finite
    number for each cell.
    """
    ledger.require(task, k)
    _require_scores(scores, ledger.cells, task)
    score_of, free_of = _by_site(scores, ledger.shapes), _by_site(ledger.free(), ledger.shapes)
    groups = groups_of_sites(ledger.shapes, granularity)
    cells = [sum(score_of[site].numel() for site in group) for group in groups]
    free_counts = [sum(int(free_of[site].count_nonzero()) for site in group) for group in groups]
    chosen: dict[str, Tensor] = {}
    for group, count in zip(groups, shares(cells, free_counts, k), strict=True):
        best = top_free(
            torch.cat([score_of[site] for site in group]), torch.cat([free_of[site] for site in group]), count
        )
        chosen |= _by_site(best, {site: ledger.shapes[site] for site in group})
    return Mask({site: chosen[site].view(shape) for site, shape in ledger.shapes.items()})


def shares(cells: Sequence[int], free: Sequence[int], k: int) -> list[int]:
    """Divide k among groups in proportion to their cells, with at most the free cells of each group.

    The excess of a group is divided among the others in the same way. Units left by rounding down go to the
    largest remainders; ties go to the earlier group.
    """
    share: dict[int, int] = {}
    rest, left, total = list(range(len(cells))), k, sum(cells)
    while full := [g for g in rest if left * cells[g] >= free[g] * total]:
        share |= {g: free[g] for g in full}
        rest = [g for g in rest if g not in share]
        left, total = k - sum(share.values()), sum(cells[g] for g in rest)
    share |= {g: left * cells[g] // total for g in rest}
    by_remainder = sorted(rest, key=lambda g: (-(left * cells[g] % total), g))
    for g in by_remainder[: k - sum(share.values())]:
        share[g] += 1
    return [share[g] for g in range(len(cells))]


def top_free(scores: Float[Tensor, "cells"], free: Bool[Tensor, "cells"], k: int) -> Bool[Tensor, "cells"]:
    """Select the k free cells with the highest scores; ties go to the lower index, so a mask is reproducible.

    A threshold (score >= the k-th score) would select all tied cells: every cell, if all scores are 0.
    """
    if k == 0:
        return torch.zeros_like(free)
    exact = scores if scores.dtype == torch.float64 else scores.float()  # NumPy has no bfloat16
    ranked = exact.masked_fill(~free, -torch.inf).numpy()  # claimed cells rank after all free ones
    # With 44 million cells, NumPy's partition takes a tenth of the time of torch's topk on a CPU.
    kth = np.partition(ranked, -k)[-k]
    chosen = ranked > kth
    tied = np.flatnonzero(ranked == kth)
    chosen[tied[: k - np.count_nonzero(chosen)]] = True
    return torch.from_numpy(chosen)


def _require_scores(scores: Tensor, cells: int, task: str) -> None:
    """Check what a mask strategy returned."""
    problem = None
    if scores.shape != (cells,):
        problem = f"scores of shape {tuple(scores.shape)} for {cells:,} cells; return one score for each cell"
    elif not bool(torch.isfinite(torch.stack(scores.aminmax())).all()):
        problem = "a score that is not a finite number"
    if problem is not None:
        raise LoriError(f"task '{task}': the mask strategy returned {problem}")


def _by_site(flat: Shaped[Tensor, "cells"], shapes: Shapes) -> dict[str, Shaped[Tensor, "site_cells"]]:
    """Split one vector over the cells of these sites by site."""
    parts = torch.split(flat, [out * rank for out, rank in shapes.values()])
    return dict(zip(shapes, parts, strict=True))
