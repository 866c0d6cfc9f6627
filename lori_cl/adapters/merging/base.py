"""Interface of merge methods: their inputs at one site, their kinds and their settings."""

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
        """Return B times the scaling, so that ΔW = B A."""
        scaled: Tensor = self.scaling * self.b
        return scaled

    def delta(self) -> Float[Tensor, "out d_in"]:
        """Return ΔW."""
        delta: Tensor = self.scaled_b() @ self.a
        return delta


CombineFactors = Callable[[Sequence[Factors], Sequence[float]], Factors]
"""(adapters, their weights) -> the merged adapter, at one site."""

CombineTensors = Callable[[Sequence[Tensor], Sequence[float], float], Tensor]
"""(tensors of one shape, their weights, density) -> the merged tensor. They are B that share one A, or ΔW."""


@dataclass(frozen=True)
class FactorMerge:
    """Merges A and B without pruning; it has no settings."""

    combine: CombineFactors
    normalises: bool = False
    """Whether the weights are divided by their sum."""


@dataclass(frozen=True)
class PruningMerge:
    """Prunes each adapter, then adds them. It works on B or on ΔW."""

    combine: CombineTensors
    elects_signs: bool = False
    """Whether the adapters vote on the sign of every entry. Entries must then be comparable."""
    random: bool = False
    """Whether entries are dropped at random."""


MergeMethod = FactorMerge | PruningMerge


@dataclass(frozen=True)
class MergeSettings:
    """Settings of a pruning method; other methods accept none."""

    on: Space | None = None
    """What is pruned and added: `b`, the B matrices; `delta`, the ΔW, whose result is factored again. None
    means `b`."""
    density: float | None = None
    """Fraction of each adapter's non-zero entries that is kept at each site. A sparse B is mostly zeros: a
    fraction of all entries would keep all trained ones."""
    rank: int | None = None
    """With `delta`, the rank of the result; None means the sum of the adapters' ranks."""
    seed: int | None = None
    """Seed of the random drops of `dare`; None means 0."""
