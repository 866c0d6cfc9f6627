from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel, wilcoxon

from lori_cl.errors import InputError
from lori_cl.forgetting import Summary, compare, spread, summarise

A = [0.81, 0.79, 0.84, 0.77, 0.86, 0.80]
B = [0.78, 0.80, 0.79, 0.75, 0.80, 0.76]
percent = st.integers(0, 100).map(lambda hundredths: hundredths / 100)


def test_a_summary_has_the_mean_and_the_std_with_ddof_one() -> None:
    assert summarise([0.6, 0.7, 0.8]) == Summary(pytest.approx(0.7), pytest.approx(0.1), 3)


def test_a_single_run_has_no_std() -> None:
    assert summarise([0.7]) == Summary(0.7, None, 1)


@pytest.mark.parametrize("values", [[], [0.5, math.nan]])
def test_summary_of_no_values_or_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="at least one finite number, one per run"):
        summarise(values)


def test_comparison_equals_scipys_paired_tests() -> None:
    result = compare(A, B)
    assert result.difference == pytest.approx(np.mean(A) - np.mean(B))
    assert result.t_p_value == ttest_rel(A, B).pvalue
    assert result.wilcoxon_p_value == wilcoxon(np.subtract(A, B)).pvalue
    assert result.n == 6


def test_a_single_pair_has_no_p_value() -> None:
    result = compare([0.9], [0.7])
    assert (result.t_p_value, result.wilcoxon_p_value, result.n) == (None, None, 1)
    assert result.difference == pytest.approx(0.2)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_equal_differences_have_no_t_test_and_raise_no_warning(shift: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare([a + shift for a in A], A)
    assert result.t_p_value is None
    assert result.wilcoxon_p_value is not None


def test_no_difference_has_a_wilcoxon_p_value_of_one() -> None:
    assert compare(A, A).wilcoxon_p_value == 1.0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(percent, percent), min_size=1, max_size=8))
def test_a_p_value_is_a_probability_or_absent(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    result = compare(a, b)
    for p_value in (result.t_p_value, result.wilcoxon_p_value):
        assert p_value is None or 0 <= p_value <= 1


def test_comparison_of_unequal_numbers_of_runs_is_refused() -> None:
    with pytest.raises(InputError, match="2 and 3"):
        compare([0.1, 0.2], [0.1, 0.2, 0.3])


def test_spread_over_orders_only_has_no_seed_spread() -> None:
    result = spread({("ab", 0): 0.8, ("ab", 1): 0.8, ("ba", 0): 0.6, ("ba", 1): 0.6})
    assert result.seed_std == 0
    assert result.order_std == pytest.approx(math.sqrt(0.02))
    assert (result.mean, result.orders, result.n) == (pytest.approx(0.7), 2, 4)


def test_spread_over_seeds_only_has_no_order_spread() -> None:
    result = spread({("ab", 0): 0.8, ("ab", 1): 0.6, ("ba", 0): 0.6, ("ba", 1): 0.8})
    assert result.seed_std == pytest.approx(math.sqrt(0.02))
    assert result.order_std == 0


def test_seed_spread_is_pooled_by_the_degrees_of_freedom_of_each_order() -> None:
    runs = {("ab", 0): 0.1, ("ab", 1): 0.3, ("ab", 2): 0.5, ("ba", 0): 0.2, ("ba", 1): 0.3, ("cd", 0): 0.9}
    # squared deviations from the order means: 0.08 (2 degrees of freedom), 0.005 (1), 0 (0)
    assert spread(runs).seed_std == pytest.approx(math.sqrt(0.085 / 3))


def test_single_seed_has_no_seed_spread_and_single_order_no_order_spread() -> None:
    assert spread({("ab", 0): 0.8, ("ba", 0): 0.6}).seed_std is None
    assert spread({("ab", 0): 0.8, ("ab", 1): 0.6}).order_std is None


def test_statistics_do_not_change_their_arguments() -> None:
    a, b = np.array(A), np.array(B)
    compare(a, b)
    summarise(a)
    assert a.tolist() == A
    assert b.tolist() == B
