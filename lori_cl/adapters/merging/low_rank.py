"""Factor a dense ΔW into low-rank factors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.merging.base import Factors


def factored(delta: Float[Tensor, "out d_in"], rank: int) -> Factors:
    """Return the best approximation B A of this rank, or of the largest rank that the shape allows.

    The singular vectors of the shorter side are computed as eigenvectors of a Gram matrix, in float64. This
    is cheaper than a singular value decomposition.
    Source: Eckart & Young 1936.
    """
    delta64 = delta.double()
    out, d_in = delta.shape
    gram = delta64 @ delta64.T if out < d_in else delta64.T @ delta64
    side = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :rank]  # (out or d_in, r), largest first
    b, a = (side, side.T @ delta64) if out < d_in else (delta64 @ side, side.T)
    return Factors(a=a.to(delta.dtype).contiguous(), b=b.to(delta.dtype).contiguous(), scaling=1.0)
