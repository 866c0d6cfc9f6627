"""Statistics of a task's training texts: their number, mean and scatter matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from lori_cl.errors import ArtifactDamaged

Features = Float[np.ndarray, "n d"]
"""One row per text."""

Arrays = Mapping[str, np.ndarray]

MAX_VALUE = 1e100
"""Upper limit of means and scatters; larger values would overflow in a product."""
ROUNDING = 1 + 1e-6


@dataclass(frozen=True, eq=False)
class TaskStatistics:
    """The first two moments of a task's features, in float64. Texts cannot be recovered from them."""

    n: int
    """Number of texts."""
    mean: Float[np.ndarray, "d"]
    scatter: Float[np.ndarray, "d d"]
    """Σ (x − mean)(x − mean)ᵀ over the texts; symmetric."""

    @classmethod
    def of(cls, features: Features) -> Self:
        """Compute the statistics of features, one row per text; at least one row."""
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return `n` (1,), `mean` (d,), and `scatter` as its upper triangle row by row (d (d + 1) / 2,)."""
        upper = np.triu_indices(len(self.mean))
        return {"n": np.array([self.n]), "mean": self.mean, "scatter": self.scatter[upper]}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Undo `to_arrays`.

        Raises: ArtifactDamaged: no texts can have these statistics.
        """
        _check(arrays)
        d = len(arrays["mean"])
        half = np.zeros((d, d))
        half[np.triu_indices(d)] = arrays["scatter"]
        read = cls(int(arrays["n"][0]), arrays["mean"], half + np.triu(half, k=1).T)
        read._require_moments()
        return read

    def _require_moments(self) -> None:
        """Reject impossible moments: a covariance is bounded by its two variances."""
        variances = np.diag(self.scatter)
        largest = max(np.abs(self.mean).max(), variances.max())
        if variances.min() < 0 or largest > MAX_VALUE:
            raise ArtifactDamaged(
                f"a task's statistics are out of range: {variances.min():g} to {largest:g} "
                f"(allowed: 0 to {MAX_VALUE:g})"
            )
        if (np.abs(self.scatter) > np.sqrt(np.outer(variances, variances)) * ROUNDING).any():
            raise ArtifactDamaged("a task's statistics are invalid: a covariance exceeds its variances")


def _check(arrays: Arrays) -> None:
    names = {"n", "mean", "scatter"}
    if arrays.keys() != names:
        raise ArtifactDamaged(
            f"a task's statistics have the arrays {', '.join(sorted(arrays)) or '(none)'}; "
            f"expected {', '.join(sorted(names))}"
        )
    d = arrays["mean"].size
    shapes = {"n": (1,), "mean": (d,), "scatter": (d * (d + 1) // 2,)}
    for name, shape in shapes.items():
        kind = "i" if name == "n" else "f"
        found = arrays[name]
        if found.shape != shape or found.dtype.kind != kind or not np.isfinite(found).all():
            raise ArtifactDamaged(
                f"a task's statistics have an invalid {name}: expected finite numbers of shape {shape}"
            )
    if d == 0 or arrays["n"][0] < 1:
        raise ArtifactDamaged("a task's statistics are empty: they cover no text or no feature")


@dataclass(frozen=True)
class StoredStatistics:
    """A task's router statistics and the file that holds them."""

    statistics: TaskStatistics
    artifact: str
    """Digest of the file."""
