"""The trained cells of one stage, with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Cells with their values. A site without cells may be omitted."""

    masks: Mapping[str, Bool[Tensor, "out r"]]
    """Per site, which cells are included."""
    values: Mapping[str, Float[Tensor, "cells"]]
    """Per site, float32, in the mask's row-major order."""
