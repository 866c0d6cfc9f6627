"""Statistics over several runs: mean, spread over seeds and task orders, and comparison of two methods."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lori_cl.errors import InputError

Values = Sequence[float] | Float[np.ndarray, "runs"]


@dataclass(frozen=True)
class Summary:
    """Mean and spread of one number over runs."""

    mean: float
    """Over the runs."""
    std: float | None
    """With ddof = 1; None for a single run."""
    n: int
    """Number of runs."""


@dataclass(frozen=True)
class Spread:
    """The spread of one number over runs, separately for seeds and task orders."""

    mean: float
    """Over all runs."""
    seed_std: float | None
    """Between seeds of one order, pooled over the orders; None if no order has two seeds."""
    order_std: float | None
    """Between the means of the orders, ddof = 1; None for a single order."""
    orders: int
    """Number of task orders."""
    n: int
    """Number of runs."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two settings over the same seeds and orders."""

    difference: float
    """Mean of a − b."""
    t_p_value: float | None
    """Paired t-test, two-sided; None if n = 1 or all differences are equal, because t is undefined."""
    wilcoxon_p_value: float | None
    """Wilcoxon signed-rank test, two-sided; None if n = 1."""
    n: int
    """Number of pairs."""


def summarise(values: Values) -> Summary:
    """Return the mean and standard deviation (ddof = 1) over runs.

    Raises: InputError: there is no value, or one is not finite.
    """
    runs = _numbers(values)
    return Summary(float(runs.mean()), float(runs.std(ddof=1)) if len(runs) > 1 else None, len(runs))


def spread(values: Mapping[tuple[Hashable, int], float]) -> Spread:
    """Return the seed and order spread of runs keyed by (task order, seed).

    seed_std² = Σ_orders Σ_seeds (x − order mean)² / Σ_orders (seeds − 1). order_std is the spread of the
    order means, so it still includes seed noise.
    Source: the within-group mean square of a one-way analysis of variance.
    Raises: InputError: there is no value, or one is not finite.
    """
    by_order: defaultdict[Hashable, list[float]] = defaultdict(list)
    for (order, _), value in values.items():
        by_order[order].append(value)
    overall = summarise(list(values.values()))
    parts = [summarise(runs) for runs in by_order.values()]
    squares = sum((part.n - 1) * part.std**2 for part in parts if part.std is not None)
    degrees_of_freedom = overall.n - len(parts)
    return Spread(
        mean=overall.mean,
        seed_std=math.sqrt(squares / degrees_of_freedom) if degrees_of_freedom else None,
        order_std=summarise([part.mean for part in parts]).std,
        orders=len(parts),
        n=overall.n,
    )


def compare(a: Values, b: Values) -> Comparison:
    """Paired t-test and Wilcoxon signed-rank test of a − b, as scipy computes them by default.

    Raises: InputError: the lengths differ, or a value is not finite.
    """
    one, other = _numbers(a), _numbers(b)
    if len(one) != len(other):
        raise InputError(
            f"A comparison needs the same number of runs on both sides; got {len(one)} and {len(other)}."
        )
    change = one - other
    return Comparison(float(change.mean()), _t_test(one, other), _wilcoxon(change), len(change))


def _t_test(one: Float[np.ndarray, "runs"], other: Float[np.ndarray, "runs"]) -> float | None:
    # With equal differences the divisor is only rounding noise, and scipy would report p near 0.
    noise = 1e-12 * float(np.abs([one, other]).max())
    if len(one) == 1 or np.ptp(one - other) <= noise:
        return None
    from scipy.stats import ttest_rel  # takes a second to import; a report of one run does not need it

    return float(ttest_rel(one, other).pvalue)


def _wilcoxon(change: Float[np.ndarray, "runs"]) -> float | None:
    if len(change) == 1:
        return None
    if not change.any():
        return 1.0  # scipy also returns 1, but divides by zero first
    from scipy.stats import wilcoxon  # imported late, as above

    return float(wilcoxon(change).pvalue)


def _numbers(values: Values) -> Float[np.ndarray, "runs"]:
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 1 or not runs.size or not np.isfinite(runs).all():
        raise InputError(f"Statistics over runs need at least one finite number, one per run; got {values}.")
    return runs
