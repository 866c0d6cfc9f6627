"""Masks of the cells that the task pulls at hardest before it has learned anything."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lori_cl.masks.strategies.base import Evidence


def gradient(evidence: Evidence) -> Float[Tensor, "cells"]:
    """Σ |∂L/∂B| at B = 0, over a few batches; a calibration of a twentieth of an epoch instead of a whole
    one.

    Source: SNIP (Lee et al. 2019) scores connections by their gradient before training; here at B = 0.
    """
    assert evidence.gradients is not None, "gradient needs gradients"
    return evidence.gradients.abs()
