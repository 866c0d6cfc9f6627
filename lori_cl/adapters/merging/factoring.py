"""From a dense ΔW back to factors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.merging.base import Factors


def factored(delta: Float[Tensor, "out d_in"], rank: int) -> Factors:
    """The best B A of this rank, or of the largest that the shape allows; A's rows are orthonormal.

    Source: Eckart & Young 1936, by a full singular value decomposition.
    """
    u, s, vh = torch.linalg.svd(delta, full_matrices=False)  # (out, k), (k,), (k, d_in)
    return Factors(a=vh[:rank].contiguous(), b=(u * s)[:, :rank].contiguous(), scaling=1.0)
