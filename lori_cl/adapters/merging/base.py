"""What a merge method is given at one site, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

Space = Literal["b", "delta"]


class Factors(NamedTuple):
    """One adapter at one site: ΔW = scaling · B A."""

    a: Float[Tensor, "r d_in"]
    b: Float[Tensor, "out r"]
    scaling: float

    def scaled_b(self) -> Float[Tensor, "out r"]:
        """B with the scaling in it, so that ΔW = B A."""
        scaled: Tensor = self.scaling * self.b
        return scaled

    def delta(self) -> Float[Tensor, "out d_in"]:
        """ΔW."""
        delta: Tensor = self.scaled_b() @ self.a
        return delta


CombineFactors = Callable[[Sequence[Factors], Sequence[float]], Factors]
"""(adapters, their weights) -> the merged adapter, at one site."""

CombineTensors = Callable[[Sequence[Tensor], Sequence[float], float], Tensor]
"""(tensors of one shape, their weights, density) -> one of that shape; B's under one A, or ΔW's."""


@dataclass(frozen=True)
class FactorMerge:
    """Merges A's and B's as they are; there is nothing to set."""

    combine: CombineFactors
    normalises: bool = False
    """Whether the weights are divided by their sum."""


@dataclass(frozen=True)
class PruningMerge:
    """Prunes each adapter, then adds; on the B's or on the ΔW's."""

    combine: CombineTensors
    elects_signs: bool = False
    """Whether the adapters vote on every entry's sign, so that an entry must mean the same in all of them."""
    draws: bool = False
    """Whether chance says what is dropped."""


MergeMethod = FactorMerge | PruningMerge


@dataclass(frozen=True)
class MergeSettings:
    """What a method that prunes is told; the others have no use for it."""

    on: Space | None = None
    """What is pruned and added: `b`, the B's; `delta`, the ΔW's, and the result is factored again. None means
    `b`."""
    density: float | None = None
    """Fraction of each adapter's non-zero entries that is kept at each site. A sparse B is mostly zeros:
    a fraction of all entries would keep every one that was trained."""
    rank: int | None = None
    """With `delta`, the rank that the result is cut to; None means the sum of the adapters' ranks."""
    seed: int | None = None
    """For what `dare` drops; None means 0."""
