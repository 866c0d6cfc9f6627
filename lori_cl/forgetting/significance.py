"""Paired significance tests over the same eval examples, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from lori_cl.errors import InputError
from lori_cl.forgetting.distinct import Groups, group_means

Outcomes = Sequence[float] | Shaped[np.ndarray, "examples"]
"""One value per example, in the same order before and after: right or wrong (0/1, bool), or a grade."""

DRAWS_AT_ONCE = 1 << 20  # limits the bootstrap's memory to tens of MB; at least one resample per batch


@dataclass(frozen=True)
class PairedTest:
    """The result of testing whether two scores over the same examples differ."""

    name: Literal["mcnemar_exact", "paired_bootstrap"]
    """The test that was used."""
    difference: float
    """Mean after − mean before, in the metric's own sign."""
    p_value: float | None
    """Two-sided; None for a single graded example."""
    n: int
    """Number of examples, or of distinct inputs if some repeat."""
    worsened: int
    """Number of examples with a lower outcome after than before."""
    improved: int
    """Number of examples with a higher outcome after than before."""
    low: float | None = None
    """Lower end of the 95 % confidence interval of the difference; bootstrap only."""
    high: float | None = None
    """Upper end of that interval; bootstrap only."""


def mcnemar_exact(before: Outcomes, after: Outcomes) -> PairedTest:
    """Exact McNemar test: a two-sided binomial test at p = 1/2 over the examples whose outcome changed.

    If no outcome changed, the p-value is 1.
    Source: McNemar 1947; two-sided binomial p-value as scipy.stats.binomtest computes it.
    Raises: InputError: an outcome is neither 0 nor 1, or the two sequences do not match.
    """
    old, new = _paired(before, after)
    if not _right_or_wrong(old, new):
        raise InputError("McNemar's test needs outcomes of 0 or 1; use paired_bootstrap for graded outcomes.")
    worsened, improved = int((new < old).sum()), int((new > old).sum())
    changed = worsened + improved
    p_value = _binomial_test(worsened, changed) if changed else 1.0
    return PairedTest(
        "mcnemar_exact", (improved - worsened) / len(old), p_value, len(old), worsened, improved
    )


def paired_bootstrap(before: Outcomes, after: Outcomes, resamples: int = 10_000, seed: int = 0) -> PairedTest:
    """Percentile bootstrap of the mean difference; examples are resampled in pairs.

    p = 2 · min(fraction of means ≤ 0, fraction of means ≥ 0), at most 1. One extra resample is counted in the
    tail, so that p is never 0. With one example there is neither a p-value nor an interval.
    Source: Efron & Tibshirani 1993, ch. 13; the + 1: Davison & Hinkley 1997, ch. 4.
    Raises: InputError: the two sequences do not match, or `resamples` is less than 1.
    """
    old, new = _paired(before, after)
    if resamples < 1:
        raise InputError(f"A bootstrap needs at least one resample; got {resamples}.")
    change = new - old
    worsened, improved = int((change < 0).sum()), int((change > 0).sum())
    p_value, low, high = _bootstrap(change, resamples, seed) if len(change) > 1 else (None, None, None)
    return PairedTest(
        "paired_bootstrap", float(change.mean()), p_value, len(change), worsened, improved, low, high
    )


def paired_test(
    before: Outcomes,
    after: Outcomes,
    resamples: int = 10_000,
    seed: int = 0,
    groups: Groups | None = None,
) -> PairedTest:
    """Run the exact McNemar test if every outcome is 0 or 1, else the paired bootstrap.

    With `groups` of examples that have the same input, each input counts once, with its mean outcome. The
    difference is still that of all examples.
    """
    if groups is not None:
        old, new = _paired(before, after)
        test = paired_test(group_means(old, groups), group_means(new, groups), resamples, seed)
        return replace(test, difference=float((new - old).mean()))
    if _right_or_wrong(*_paired(before, after)):
        return mcnemar_exact(before, after)
    return paired_bootstrap(before, after, resamples, seed)


def standard_error(outcomes: Outcomes) -> float:
    """Return std(ddof=1) / √n of per-example outcomes; NaN for fewer than two."""
    values = np.asarray(outcomes, dtype=np.float64)
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan


def _binomial_test(successes: int, trials: int) -> float:
    """Two-sided exact binomial test at p = 1/2, in integers: scipy.stats takes a second to import."""
    combinations = tail = 1
    for k in range(min(successes, trials - successes)):
        combinations = combinations * (trials - k) // (k + 1)
        tail += combinations
    return min(1.0, 2 * tail / (1 << trials))


def _bootstrap(
    change: Float[np.ndarray, "examples"], resamples: int, seed: int
) -> tuple[float, float, float]:
    """Return the two-sided p-value and the two ends of the 95 % interval."""
    means = _resampled_means(change, resamples, seed)
    # Differences that cancel in exact arithmetic leave a rounding error of this order in float64.
    zero = 1e-12 * float(np.abs(change).max())
    tail = min(int((means <= zero).sum()), int((means >= -zero).sum()))
    low, high = np.quantile(means, (0.025, 0.975))
    return min(1.0, 2 * (tail + 1) / (resamples + 1)), float(low), float(high)


def _resampled_means(
    change: Float[np.ndarray, "examples"], resamples: int, seed: int
) -> Float[np.ndarray, "resamples"]:
    draw, n = np.random.default_rng(seed), len(change)
    rows = max(1, DRAWS_AT_ONCE // n)
    sizes = (min(rows, resamples - start) for start in range(0, resamples, rows))
    return np.concatenate([change[draw.integers(0, n, (size, n))].mean(axis=1) for size in sizes])


def _paired(
    before: Outcomes, after: Outcomes
) -> tuple[Float[np.ndarray, "examples"], Float[np.ndarray, "examples"]]:
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if old.ndim != 1 or old.shape != new.shape or not old.size:
        raise InputError(
            "A paired test needs one outcome per example, for the same examples before and after; "
            f"got shapes {old.shape} and {new.shape}."
        )
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        bad = int(np.argmin(np.isfinite(old) & np.isfinite(new)))
        raise InputError(f"Example {bad} has the outcomes {old[bad]} and {new[bad]}; both must be finite.")
    return old, new


def _right_or_wrong(old: Float[np.ndarray, "examples"], new: Float[np.ndarray, "examples"]) -> bool:
    return bool(np.isin(old, (0, 1)).all() and np.isin(new, (0, 1)).all())
