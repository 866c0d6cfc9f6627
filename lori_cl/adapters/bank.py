"""A bank: the rows of A that some stages share, and the cells that act under them."""

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
    """One A a site, and the stages whose cells act under it. Banks act side by side: ΔW = scale · Σ Bₙ Aₙ."""

    projections: Projections
    stages: Sequence[Cells] = ()
    """A stage's masks may have fewer columns than A has rows, where the adapter grew after it."""
    sums: bool = False
    """Whether a cell of several stages holds the sum of their values; or else the last one's."""
