"""Interface of mask strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

Need = Literal["nothing", "calibrated_b", "gradients"]


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
    needs: Need
    """The evidence that the function needs."""

    def __post_init__(self) -> None:
        if self.needs not in get_args(Need):
            raise ValueError(f"needs is '{self.needs}'; use one of {', '.join(get_args(Need))}")
