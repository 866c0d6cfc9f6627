"""Interface of mask strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """The inputs of a strategy."""

    cells: int
    """Number of cells of the whole adapter."""
    seed: int
    """The task's seed for masks."""
    calibrated_b: Float[Tensor, "cells"] | None = None
    """B after dense training on the task, if the strategy needs it; 0 in claimed cells."""
    gradients: Float[Tensor, "cells"] | None = None
    """Σ |∂L/∂B| over a few batches before training, if the strategy needs it; 0 in claimed cells."""


@dataclass(frozen=True)
class Strategy:
    """A scoring function and the evidence that it needs."""

    score: Callable[[Evidence], Float[Tensor, "cells"]]
    """Higher is better; every score is finite."""
    needs: Literal["nothing", "calibrated_b", "gradients"]
    """The evidence that the function needs."""
