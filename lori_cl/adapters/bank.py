"""A bank: rows of A that several stages share, with the cells of those stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.cells import Cells

Projections = Mapping[str, Float[Tensor, "r d_in"]]
"""Each site's A, float32."""


@dataclass(frozen=True)
class Bank:
    """One A per site, and the stages whose cells use it. Banks are summed: ΔW = scale · Σ Bₙ Aₙ."""

    projections: Projections
    stages: Sequence[Cells] = ()
    """If the adapter grew after a stage, the stage's masks have fewer columns than A has rows."""
    sums: bool = False
    """Whether a cell of several stages holds the sum of their values. If False, it holds the last stage's."""
