"""Statistics over distinct inputs: a row that repeats another's input tells nothing new.

Rows with the same input form a group. The score stays the mean over all rows; its standard error is that of
a mean over groups, which for groups of one row each is std (ddof = 1) / √n.
Source: the cluster-robust variance of a mean, Cameron & Miller 2015, with the factor G / (G − 1).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int64

Groups = Int64[np.ndarray, "rows"]
"""Of every row, the number of its group, from 0 in the order of first rows."""


def groups_of(inputs: Sequence[Hashable]) -> Groups | None:
    """The groups of equal inputs; None where all inputs differ."""
    number: dict[Hashable, int] = {}
    groups = np.array([number.setdefault(each, len(number)) for each in inputs], dtype=np.int64)
    return groups if len(number) < len(inputs) else None


def grouped_standard_error(outcomes: Float[np.ndarray, "rows"], groups: Groups) -> float | None:
    """Standard error of the mean outcome over groups; None for a single group.

    √(G / (G − 1) · Σ_groups (Σ_rows (x − mean))²) / rows.
    """
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        return None
    sums = np.bincount(groups, outcomes - outcomes.mean(), n_groups)  # (groups,)
    return float(np.sqrt(n_groups / (n_groups - 1) * (sums**2).sum()) / len(outcomes))


def group_means(outcomes: Float[np.ndarray, "rows"], groups: Groups) -> Float[np.ndarray, "groups"]:
    """The mean outcome of every group; equal outcomes give exactly themselves."""
    n_groups = int(groups.max()) + 1
    least, most = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(least, groups, outcomes)
    np.maximum.at(most, groups, outcomes)
    means = np.bincount(groups, outcomes, n_groups) / np.bincount(groups, minlength=n_groups)
    return np.where(least == most, least, means)


def rows_of(groups: Groups) -> list[Int64[np.ndarray, "rows_of_group"]]:
    """The rows of every group."""
    return np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
