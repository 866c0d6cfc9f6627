"""One number from several runs: its mean and spread over seeds and task orders, and two methods compared."""

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
    """The spread of one number over runs, seeds and task orders apart."""

    mean: float
    """Over all runs."""
    seed_std: float | None
    """Between seeds of one order, pooled over the orders; None where no order has two seeds."""
    order_std: float | None
    """Between the means of the orders, ddof = 1; None for a single order."""
    orders: int
    """Number of task orders."""
    n: int
    """Number of runs."""


@dataclass(frozen=True)
class Comparison:
    """Two settings over the same seeds and orders."""

    difference: float
    """Mean of a − b."""
    t_p_value: float | None
    """Paired t-test, two-sided; None where n = 1, or all differences are equal and t is undefined."""
    wilcoxon_p_value: float | None
    """Wilcoxon signed-rank test, two-sided; None where n = 1."""
    n: int
    """Number of pairs."""


def summarise(values: Values) -> Summary:
    """Mean and standard deviation (ddof = 1) over runs.

    Raises: InputError, if there is no value or one is not a number.
    """
    runs = _numbers(values)
    return Summary(float(runs.mean()), float(runs.std(ddof=1)) if len(runs) > 1 else None, len(runs))


def spread(values: Mapping[tuple[Hashable, int], float]) -> Spread:
    """Seed and order spread of runs keyed by (task order, seed).

    seed_std² = Σ_orders Σ_seeds (x − order mean)² / Σ_orders (seeds − 1). The means whose spread is
    order_std still carry the seed noise of the seeds they are taken over.
    Source: the within-group mean square of a one-way analysis of variance.
    Raises: InputError, if there is no value or one is not a number.
    """
    by_order: defaultdict[Hashable, list[float]] = defaultdict(list)
    for (order, _), value in values.items():
        by_order[order].append(value)
    everything = summarise(list(values.values()))
    parts = [summarise(runs) for runs in by_order.values()]
    squares = sum((part.n - 1) * part.std**2 for part in parts if part.std is not None)
    spare = everything.n - len(parts)
    return Spread(
        mean=everything.mean,
        seed_std=math.sqrt(squares / spare) if spare else None,
        order_std=summarise([part.mean for part in parts]).std,
        orders=len(parts),
        n=everything.n,
    )


def compare(a: Values, b: Values) -> Comparison:
    """Paired t-test and Wilcoxon signed-rank test of a − b, as scipy computes them by default.

    Raises: InputError, if the two do not pair or a value is not a number.
    """
    one, other = _numbers(a), _numbers(b)
    if len(one) != len(other):
        raise InputError(f"A comparison pairs run with run; got {len(one)} and {len(other)} values.")
    change = one - other
    return Comparison(float(change.mean()), _t_test(one, other), _wilcoxon(change), len(change))


def _t_test(one: Float[np.ndarray, "runs"], other: Float[np.ndarray, "runs"]) -> float | None:
    # Equal differences leave only rounding noise to divide by, and scipy would report p near 0.
    noise = 1e-12 * float(np.abs([one, other]).max())
    if len(one) == 1 or np.ptp(one - other) <= noise:
        return None
    from scipy.stats import ttest_rel  # takes a second to import, and a report of one run needs none

    return float(ttest_rel(one, other).pvalue)


def _wilcoxon(change: Float[np.ndarray, "runs"]) -> float | None:
    if len(change) == 1:
        return None
    if not change.any():
        return 1.0  # as scipy says too, after a division by zero
    from scipy.stats import wilcoxon  # late, as above

    return float(wilcoxon(change).pvalue)


def _numbers(values: Values) -> Float[np.ndarray, "runs"]:
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 1 or not runs.size or not np.isfinite(runs).all():
        raise InputError(f"Statistics over runs need one number a run, and at least one; got {values}.")
    return runs
