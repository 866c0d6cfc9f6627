"""What is kept of a task's training texts: how many there were, their mean, and how they scatter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from lori_cl.errors import ArtifactDamaged

Features = Float[np.ndarray, "n d"]
"""One row a text."""

Arrays = Mapping[str, np.ndarray]

MOST = 1e100
"""More than any feature, or its square over all texts: what is larger would overflow in a product."""
ROUNDING = 1 + 1e-6


@dataclass(frozen=True, eq=False)
class TaskStatistics:
    """The first two moments of a task's features, in float64; no text can be read back from them."""

    n: int
    """Texts."""
    mean: Float[np.ndarray, "d"]
    scatter: Float[np.ndarray, "d d"]
    """Σ (x − mean)(x − mean)ᵀ over the texts; symmetric."""

    @classmethod
    def of(cls, features: Features) -> Self:
        """The statistics of these features, one row a text, at least one."""
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """`n` (1,), `mean` (d,), and `scatter` as its upper triangle row by row (d (d + 1) / 2,)."""
        upper = np.triu_indices(len(self.mean))
        return {"n": np.array([self.n]), "mean": self.mean, "scatter": self.scatter[upper]}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Undo `to_arrays`.

        Raises: ArtifactDamaged, if these are not the statistics of some texts.
        """
        _check(arrays)
        d = len(arrays["mean"])
        half = np.zeros((d, d))
        half[np.triu_indices(d)] = arrays["scatter"]
        read = cls(int(arrays["n"][0]), arrays["mean"], half + np.triu(half, k=1).T)
        read._require_moments()
        return read

    def _require_moments(self) -> None:
        """Refuse numbers that are no moments of anything: no two features vary together more than alone."""
        alone = np.diag(self.scatter)
        largest = max(np.abs(self.mean).max(), alone.max())
        if alone.min() < 0 or largest > MOST:
            raise ArtifactDamaged(f"a task's statistics vary between {alone.min():g} and {largest:g}")
        if (np.abs(self.scatter) > np.sqrt(np.outer(alone, alone)) * ROUNDING).any():
            raise ArtifactDamaged("a task's statistics say that features vary together more than alone")


def _check(arrays: Arrays) -> None:
    names = {"n", "mean", "scatter"}
    if arrays.keys() != names:
        raise ArtifactDamaged(f"a task's statistics hold {', '.join(sorted(arrays)) or 'nothing'}")
    d = arrays["mean"].size
    shapes = {"n": (1,), "mean": (d,), "scatter": (d * (d + 1) // 2,)}
    for name, shape in shapes.items():
        kind = "i" if name == "n" else "f"
        found = arrays[name]
        if found.shape != shape or found.dtype.kind != kind or not np.isfinite(found).all():
            raise ArtifactDamaged(f"a task's statistics have no {name} of {shape} finite numbers")
    if d == 0 or arrays["n"][0] < 1:
        raise ArtifactDamaged("a task's statistics were taken over nothing")
