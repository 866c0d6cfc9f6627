from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, sem

from lori_cl.errors import InputError
from lori_cl.forgetting import (
    PairedTest,
    mcnemar_exact,
    paired_bootstrap,
    paired_test,
    significance,
    standard_error,
)

quick = settings(deadline=None, max_examples=40)
pairs_of_bits = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def outcomes(lost: int, gained: int, unchanged: int) -> tuple[list[int], list[int]]:
    return [1] * lost + [0] * gained + [1] * unchanged, [0] * lost + [1] * gained + [1] * unchanged


def graded(n: int, shift: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    before = draw.random(n)
    return before, before + shift + draw.normal(0, 0.1, n)


def test_mcnemar_matches_a_case_computed_by_hand() -> None:
    result = mcnemar_exact(*outcomes(lost=5, gained=1, unchanged=14))
    # two-sided: 2 · (C(6,0) + C(6,1)) / 2⁶
    assert result.p_value == pytest.approx(2 * (1 + 6) / 64)
    assert (result.worsened, result.improved, result.n) == (5, 1, 20)
    assert result.difference == -0.2


@quick
@given(pairs_of_bits)
def test_mcnemar_equals_scipys_binomial_test_on_the_flipped_examples(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    lost = sum(b and not a for b, a in pairs)
    flipped = sum(b != a for b, a in pairs)
    expected = binomtest(lost, flipped).pvalue if flipped else 1.0
    assert mcnemar_exact(before, after).p_value == pytest.approx(expected)


@quick
@given(pairs_of_bits)
def test_mcnemar_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    forward, backward = mcnemar_exact(before, after), mcnemar_exact(after, before)
    assert forward.p_value == pytest.approx(backward.p_value)
    assert forward.difference == -backward.difference


def test_unchanged_examples_do_not_affect_the_p_value_of_mcnemar() -> None:
    few, many = mcnemar_exact(*outcomes(7, 1, 0)), mcnemar_exact(*outcomes(7, 1, 1000))
    assert few.p_value == many.p_value


@pytest.mark.parametrize("before", [[0, 1, 1], [0.2, 0.9, 0.5], [1]])
def test_equal_outcomes_have_a_p_value_of_one(before: list[float]) -> None:
    result = paired_test(before, before)
    assert (result.difference, result.p_value) == (0, 1.0)


def test_binary_outcomes_of_any_dtype_use_mcnemar() -> None:
    before, after = outcomes(5, 1, 14)
    as_bools, as_floats = np.array(before, bool), np.array(after, np.float32)
    assert paired_test(as_bools, as_floats) == mcnemar_exact(before, after)


def test_one_graded_outcome_selects_the_bootstrap() -> None:
    assert paired_test([0, 1, 1], [0, 1, 0.5]).name == "paired_bootstrap"


def test_mcnemar_refuses_graded_outcomes() -> None:
    with pytest.raises(InputError, match="paired_bootstrap"):
        mcnemar_exact([0, 1], [0.5, 1])


def test_bootstrap_depends_only_on_its_seed() -> None:
    before, after = graded(50, 0.02)
    first = paired_bootstrap(before, after, resamples=500, seed=3)
    assert first == paired_bootstrap(before, after, resamples=500, seed=3)
    assert first != paired_bootstrap(before, after, resamples=500, seed=4)


def test_bootstrap_detects_a_real_drop() -> None:
    result = paired_bootstrap(*graded(200, -0.1))
    assert result.p_value == pytest.approx(2 / 10_001)
    assert result.low is not None
    assert result.high is not None
    assert result.low < result.difference < result.high < 0


def test_bootstrap_approximates_the_normal_p_value_and_interval() -> None:
    before, after = graded(400, 0.01, seed=5)
    result = paired_bootstrap(before, after)
    change = after - before
    z, half = change.mean() / sem(change), 1.96 * sem(change)
    assert result.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.02)
    assert (result.low, result.high) == pytest.approx((change.mean() - half, change.mean() + half), abs=1e-3)


def test_bootstrap_has_a_low_false_positive_rate() -> None:
    draw = np.random.default_rng(0)
    results = [paired_bootstrap(*draw.random((2, 100)), resamples=400) for _ in range(200)]
    assert sum(result.p_value is not None and result.p_value < 0.05 for result in results) <= 20


def test_differences_that_cancel_are_zero_despite_rounding() -> None:
    before, after = [0.5, 0.3], [0.8, 0.0]  # 0.8 − 0.5 is a little more than 0.3 in float64
    assert paired_bootstrap(before, after).p_value == 1.0


def test_one_graded_example_has_a_difference_but_no_p_value_and_no_interval() -> None:
    result = paired_bootstrap([0.5], [0.25])
    assert (result.difference, result.p_value, result.low, result.high) == (-0.25, None, None, None)


def test_bootstrap_uses_bounded_memory() -> None:
    before, after = graded(4000, 0.0)
    tracemalloc.start()
    paired_bootstrap(before, after)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64e6  # all 10,000 resamples at once would take 640e6


@pytest.mark.parametrize("draws_at_once", [1, 70, 77])
def test_bootstrap_does_not_depend_on_its_batch_size(
    monkeypatch: pytest.MonkeyPatch, draws_at_once: int
) -> None:
    before, after = graded(11, -0.03)
    expected = paired_bootstrap(before, after, resamples=999)
    monkeypatch.setattr(significance, "DRAWS_AT_ONCE", draws_at_once)
    assert paired_bootstrap(before, after, resamples=999) == expected


@pytest.mark.parametrize("test", [mcnemar_exact, paired_bootstrap, paired_test])
def test_unequal_numbers_of_outcomes_are_refused(test: Callable[..., PairedTest]) -> None:
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\)"):
        test([1, 0, 1], [1, 0])


@pytest.mark.parametrize("test", [mcnemar_exact, paired_bootstrap, paired_test])
def test_empty_outcomes_are_refused(test: Callable[..., PairedTest]) -> None:
    with pytest.raises(InputError, match=r"\(0,\)"):
        test([], [])


def test_error_about_a_non_finite_outcome_names_its_example() -> None:
    with pytest.raises(InputError, match=r"Example 1 .*0\.5 and nan"):
        paired_test([0.5, 0.5], [0.5, math.nan])


def test_zero_resamples_are_refused() -> None:
    with pytest.raises(InputError, match="got 0"):
        paired_bootstrap([0.1, 0.2], [0.2, 0.1], resamples=0)


def test_paired_tests_do_not_change_their_arguments() -> None:
    before, after = graded(20, 0.1)
    copies = before.copy(), after.copy()
    paired_test(before, after, resamples=100)
    np.testing.assert_array_equal((before, after), copies)


def test_standard_error_equals_scipys_with_ddof_one() -> None:
    values = [0.2, 0.9, 0.4, 0.4]
    assert standard_error(values) == pytest.approx(sem(values, ddof=1))


@pytest.mark.parametrize("values", [[], [0.7]])
def test_fewer_than_two_outcomes_have_no_standard_error(values: list[float]) -> None:
    assert math.isnan(standard_error(values))
