"""The paper's masks: the cells with the largest magnitude after dense training."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lori_cl.masks.strategies.base import Evidence


def magnitude(evidence: Evidence) -> Float[Tensor, "cells"]:
    """Return |B| after training LoRI-D on the task.

    Source: LoRI (Zhang et al. 2025), section 3: model-wise magnitude masks.
    """
    assert evidence.calibrated_b is not None, "magnitude needs a calibration"
    return evidence.calibrated_b.abs()
