"""The paper's masks: the cells that a dense training moved farthest."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lori_cl.masks.strategies.base import Evidence


def magnitude(evidence: Evidence) -> Float[Tensor, "cells"]:
    """|B| after LoRI-D was trained on the task.

    Source: LoRI (Zhang et al. 2025), section 3: model-wise magnitude masks.
    """
    assert evidence.calibrated_b is not None, "magnitude needs a calibration"
    return evidence.calibrated_b.abs()
