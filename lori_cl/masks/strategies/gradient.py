"""Masks of the cells with the largest gradients before training."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lori_cl.masks.strategies.base import Evidence


def gradient(evidence: Evidence) -> Float[Tensor, "cells"]:
    """Return Σ |∂L/∂B| at B = 0 over a few batches.

    The calibration takes a twentieth of an epoch instead of a full one.
    Source: SNIP (Lee et al. 2019) scores connections by their gradient before training; here at B = 0.
    """
    assert evidence.gradients is not None, "gradient needs gradients"
    return evidence.gradients.abs()
