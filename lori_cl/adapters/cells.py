"""The trained cells of one stage: which ones, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Cells with their values; a site without cells may be left out."""

    masks: Mapping[str, Bool[Tensor, "out r"]]
    """Per site, which cells."""
    values: Mapping[str, Float[Tensor, "cells"]]
    """Per site, float32, in the mask's row-major order."""
