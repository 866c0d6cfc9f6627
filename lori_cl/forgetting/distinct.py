"""Statistics over distinct inputs: a row that repeats another row's input adds no information.

Rows with the same input form a group. The score is still the mean over all rows. Its standard error is that
of a mean over groups; for groups of one row each it is std (ddof = 1) / √n.
Source: the cluster-robust variance of a mean, Cameron & Miller 2015, with the factor G / (G − 1).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int64

Groups = Int64[np.ndarray, "rows"]
"""The group number of every row, from 0 in the order of each group's first row."""


def groups_of(inputs: Sequence[Hashable]) -> Groups | None:
    """Group equal inputs; return None if all inputs differ."""
    number: dict[Hashable, int] = {}
    groups = np.array([number.setdefault(input_, len(number)) for input_ in inputs], dtype=np.int64)
    return groups if len(number) < len(inputs) else None


def grouped_standard_error(outcomes: Float[np.ndarray, "rows"], groups: Groups) -> float | None:
    """Return the standard error of the mean outcome over groups; None for a single group.

    √(G / (G − 1) · Σ_groups (Σ_rows (x − mean))²) / rows.
    """
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        return None
    sums = np.bincount(groups, outcomes - outcomes.mean(), n_groups)  # (groups,)
    return float(np.sqrt(n_groups / (n_groups - 1) * (sums**2).sum()) / len(outcomes))


def group_means(outcomes: Float[np.ndarray, "rows"], groups: Groups) -> Float[np.ndarray, "groups"]:
    """Return the mean outcome of every group. The mean of equal outcomes is exactly that outcome."""
    n_groups = int(groups.max()) + 1
    least, most = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(least, groups, outcomes)
    np.maximum.at(most, groups, outcomes)
    means = np.bincount(groups, outcomes, n_groups) / np.bincount(groups, minlength=n_groups)
    return np.where(least == most, least, means)


def rows_of(groups: Groups) -> list[Int64[np.ndarray, "rows_of_group"]]:
    """Return the row numbers of every group."""
    return np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
