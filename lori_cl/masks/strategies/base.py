"""What a mask strategy is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """B after a dense training on the task, where the strategy calibrates; taken cells hold 0."""


@dataclass(frozen=True)
class Strategy:
    """How cells are scored."""

    score: Callable[[Evidence], Float[Tensor, "cells"]]
    """Higher is better; every score is finite."""
    calibrates: bool
    """Whether the task is first trained densely (LoRI-D) over all free cells."""
