"""From a dense ΔW back to factors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.merging.base import Factors


def factored(delta: Float[Tensor, "out d_in"], rank: int) -> Factors:
    """The best B A of this rank, or of the largest that the shape allows.

    The shorter side's singular vectors are the eigenvectors of a Gram matrix, in float64, which is less work
    than a singular value decomposition.
    Source: Eckart & Young 1936.
    """
    whole = delta.double()
    out, d_in = delta.shape
    gram = whole @ whole.T if out < d_in else whole.T @ whole
    side = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :rank]  # (out or d_in, r), largest first
    b, a = (side, side.T @ whole) if out < d_in else (whole @ side, side.T)
    return Factors(a=a.to(delta.dtype).contiguous(), b=b.to(delta.dtype).contiguous(), scaling=1.0)
