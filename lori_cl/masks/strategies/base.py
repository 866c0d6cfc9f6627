"""What a mask strategy is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """All that a strategy may look at."""

    cells: int
    """Cells of the whole adapter."""
    seed: int
    """This task's seed for drawing masks."""
    calibrated_b: Float[Tensor, "cells"] | None = None
    """B after a dense training on the task, where the strategy needs one; taken cells hold 0."""
    gradients: Float[Tensor, "cells"] | None = None
    """Σ |∂L/∂B| over a few batches before training, where the strategy needs it; taken cells hold 0."""


@dataclass(frozen=True)
class Strategy:
    """How cells are scored."""

    score: Callable[[Evidence], Float[Tensor, "cells"]]
    """Higher is better; every score is finite."""
    needs: Literal["nothing", "calibrated_b", "gradients"]
    """What of the evidence it cannot do without."""
