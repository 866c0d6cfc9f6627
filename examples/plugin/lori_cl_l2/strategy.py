"""A mask strategy: draw cells at random, with a probability in proportion to their gradient."""

import numpy as np
import torch
from torch import Tensor

from lori_cl.masks import Evidence, Strategy


def sampled_gradient(evidence: Evidence) -> Tensor:
    """Return log g + Gumbel noise for every cell; the k largest are a draw without replacement.

    Source: Kool et al. 2019 (Gumbel top-k).
    """
    assert evidence.gradients is not None, "the strategy needs gradients"
    noise = np.random.default_rng(evidence.seed).gumbel(size=evidence.cells)
    smallest = torch.finfo(torch.float64).tiny  # log 0 is not a finite number
    return evidence.gradients.double().clamp(min=smallest).log() + torch.from_numpy(noise)  # (cells,)


SAMPLED_GRADIENT = Strategy(sampled_gradient, needs="gradients")
