"""Is a drop real? Paired tests over the same eval examples, before and after."""

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
"""One value an example, in the same order before and after: right or wrong (0/1, bool), or a grade."""

DRAWS_AT_ONCE = 1 << 20  # bounds the bootstrap's memory to tens of MB; at least one resample at once


@dataclass(frozen=True)
class PairedTest:
    """Whether two scores over the same examples differ."""

    name: Literal["mcnemar_exact", "paired_bootstrap"]
    """The test that was used."""
    difference: float
    """Mean after − mean before, in the metric's own sign."""
    p_value: float | None
    """Two-sided; None where one graded example allows none."""
    n: int
    """Number of examples; of distinct inputs where some repeat."""
    worsened: int
    """Examples with a lower outcome after than before; of right/wrong outcomes, those lost."""
    improved: int
    """Examples with a higher outcome after than before."""
    low: float | None = None
    """Lower end of the 95 % confidence interval of the difference; bootstrap only."""
    high: float | None = None
    """Upper end of it; bootstrap only."""


def mcnemar_exact(before: Outcomes, after: Outcomes) -> PairedTest:
    """McNemar's test in its exact form: a fair coin tossed for every example whose outcome flipped.

    Where none flipped the p-value is 1.
    Source: McNemar 1947; two-sided binomial p-value as scipy.stats.binomtest computes it.
    Raises: InputError, if an outcome is neither 0 nor 1, or the two do not pair.
    """
    was, now = _paired(before, after)
    if not _right_or_wrong(was, now):
        raise InputError("McNemar's test takes outcomes of 0 or 1 only; for graded ones: paired_bootstrap.")
    worsened, improved = int((now < was).sum()), int((now > was).sum())
    flipped = worsened + improved
    p_value = _fair_coin(worsened, flipped) if flipped else 1.0
    return PairedTest(
        "mcnemar_exact", (improved - worsened) / len(was), p_value, len(was), worsened, improved
    )


def paired_bootstrap(before: Outcomes, after: Outcomes, resamples: int = 10_000, seed: int = 0) -> PairedTest:
    """Percentile bootstrap of the mean difference, examples resampled in pairs.

    p = 2 · min(share of means ≤ 0, share of means ≥ 0), at most 1, with one resample
    more counted in the tail, so that p is never 0. With one example there is neither p-value nor interval.
    Source: Efron & Tibshirani 1993, ch. 13; the + 1: Davison & Hinkley 1997, ch. 4.
    Raises: InputError, if the two do not pair or there is no resample.
    """
    was, now = _paired(before, after)
    if resamples < 1:
        raise InputError(f"A bootstrap needs at least one resample; got {resamples}.")
    change = now - was
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
    """Exact McNemar where every outcome is 0 or 1, else the paired bootstrap.

    Where `groups` say which examples have the same input, an input counts once, with its mean outcome; the
    difference stays that of all examples.
    """
    if groups is not None:
        was, now = _paired(before, after)
        test = paired_test(group_means(was, groups), group_means(now, groups), resamples, seed)
        return replace(test, difference=float((now - was).mean()))
    if _right_or_wrong(*_paired(before, after)):
        return mcnemar_exact(before, after)
    return paired_bootstrap(before, after, resamples, seed)


def standard_error(outcomes: Outcomes) -> float:
    """std(ddof=1) / √n of per-example outcomes; NaN for fewer than two."""
    values = np.asarray(outcomes, dtype=np.float64)
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan


def _fair_coin(heads: int, tosses: int) -> float:
    """Two-sided exact binomial test at p = 1/2, in whole numbers: scipy.stats takes a second to import."""
    ways = tail = 1
    for k in range(min(heads, tosses - heads)):
        ways = ways * (tosses - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << tosses))


def _bootstrap(
    change: Float[np.ndarray, "examples"], resamples: int, seed: int
) -> tuple[float, float, float]:
    """Two-sided p-value and the two ends of the 95 % interval."""
    means = _resampled_means(change, resamples, seed)
    # Differences that cancel in exact arithmetic leave a rest of this order in float64.
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
    was, now = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if was.ndim != 1 or was.shape != now.shape or not was.size:
        raise InputError(
            "A paired test needs one outcome per example, of the same examples before and after; "
            f"got shapes {was.shape} and {now.shape}."
        )
    if not (np.isfinite(was).all() and np.isfinite(now).all()):
        bad = int(np.argmin(np.isfinite(was) & np.isfinite(now)))
        raise InputError(f"Example {bad} has the outcomes {was[bad]} and {now[bad]}; both must be numbers.")
    return was, now


def _right_or_wrong(was: Float[np.ndarray, "examples"], now: Float[np.ndarray, "examples"]) -> bool:
    return bool(np.isin(was, (0, 1)).all() and np.isin(now, (0, 1)).all())
