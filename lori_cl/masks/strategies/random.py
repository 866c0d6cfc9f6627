"""Random masks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.masks.strategies.base import Evidence


def random(evidence: Evidence) -> Float[Tensor, "cells"]:
    """Return a random score per cell from the seed alone, without a global random generator."""
    # Raw words of a bit generator are stable by NumPy's policy, unlike its distributions.
    words = np.random.PCG64(evidence.seed).random_raw(evidence.cells)
    return torch.from_numpy((words >> np.uint64(11)).astype(np.float64))  # below 2^53, so exact
