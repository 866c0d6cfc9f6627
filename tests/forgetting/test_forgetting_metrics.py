from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lori_cl.forgetting import (
    METRICS,
    ForgettingMatrix,
    Metric,
    acc,
    all_metrics,
    average_anytime_accuracy,
    bwt,
    forgetting,
    fwt,
    intransigence,
    learning_accuracy,
    overall_performance,
    retention,
    single_task_gap,
)

MatrixOf = Callable[..., ForgettingMatrix]
Rows = list[list[float]]
S = {"sst2": 0.8, "agnews": 0.5, "qqp": 1.0}
NEED_TWO_TASKS = [bwt, forgetting, fwt]
LEVELS = [acc, learning_accuracy, average_anytime_accuracy]
quick = settings(deadline=None, max_examples=60)


@st.composite
def rows(draw: st.DrawFn, least_stages: int = 1) -> Rows:
    """Draw a base row and the stages of a run, which may be unfinished."""
    tasks = draw(st.integers(least_stages, 5))
    stages = draw(st.integers(least_stages, tasks))
    score = st.floats(0, 1, allow_subnormal=False)
    row = st.lists(score, min_size=tasks, max_size=tasks)
    return draw(st.lists(row, min_size=stages + 1, max_size=stages + 1))


def value(metric: Metric) -> float:
    assert metric.missing is None
    assert type(metric.value) is float
    return metric.value


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (acc, 0.75),
        (bwt, 0.125),
        (forgetting, -0.025),
        (learning_accuracy, 2 / 3),
        (average_anytime_accuracy, (0.6 + 0.65 + 0.75) / 3),
        (fwt, ((0.7 - 0.25) + (0.2 - 0.05)) / 2),
    ],
)
def test_metrics_of_the_worked_example(
    worked_example: ForgettingMatrix, metric: Callable[[ForgettingMatrix], Metric], expected: float
) -> None:
    assert value(metric(worked_example)) == pytest.approx(expected, abs=1e-12)


def test_overall_performance_is_the_mean_over_the_tasks_trained_so_far(
    worked_example: ForgettingMatrix,
) -> None:
    assert value(overall_performance(worked_example, 2)) == pytest.approx(0.65)


def test_intransigence_is_the_joint_training_score_minus_the_run_score(
    worked_example: ForgettingMatrix,
) -> None:
    assert value(intransigence(worked_example, 2, {"agnews": 0.75})) == pytest.approx(0.25)


def test_single_task_gap_is_the_mean_single_task_score_minus_the_diagonal(
    worked_example: ForgettingMatrix,
) -> None:
    assert value(single_task_gap(worked_example, S)) == pytest.approx((0.2 + 0.0 + 0.1) / 3)


def test_retention_is_the_mean_ratio_of_final_to_single_task_scores(worked_example: ForgettingMatrix) -> None:
    assert value(retention(worked_example, S)) == pytest.approx((0.7 / 0.8 + 0.65 / 0.5 + 0.9) / 3)


def test_forgetting_is_measured_from_the_best_score_since_training(matrix_of: MatrixOf) -> None:
    R = [[0.95, 0.0, 0.0], [0.6, 0.99, 0.0], [0.8, 0.5, 0.0], [0.7, 0.5, 0.9]]
    assert value(forgetting(matrix_of(R))) == pytest.approx((0.8 - 0.7 + 0.0) / 2)


def test_forgetting_is_negative_if_later_tasks_improve_a_score(matrix_of: MatrixOf) -> None:
    assert value(forgetting(matrix_of([[0, 0], [0.5, 0], [0.75, 0.5]]))) == -0.25


def test_untrained_tasks_are_excluded(matrix_of: MatrixOf) -> None:
    matrix = matrix_of([[0.1, 0.1, 0.1], [0.6, 0.3, None], [0.4, 0.8, None]])
    values = [metric.value for metric in all_metrics(matrix)]
    assert values == pytest.approx([0.6, -0.2, 0.2, 0.7, 0.6, 0.2])


@pytest.mark.parametrize("metric", NEED_TWO_TASKS)
def test_one_task_has_no_transfer_and_no_forgetting(
    matrix_of: MatrixOf, metric: Callable[[ForgettingMatrix], Metric]
) -> None:
    result = metric(matrix_of([[0.1], [0.9]]))
    assert result.value is None
    assert result.missing == "needs at least two tasks; trained so far: 1"


@pytest.mark.parametrize("metric", LEVELS)
def test_one_task_has_averages(matrix_of: MatrixOf, metric: Callable[[ForgettingMatrix], Metric]) -> None:
    assert value(metric(matrix_of([[0.1], [0.9]]))) == 0.9


def test_metrics_of_a_run_without_stages_are_missing_with_a_reason(matrix_of: MatrixOf) -> None:
    results = all_metrics(matrix_of([[0.1, 0.2]]))
    assert [result.value for result in results] == [None] * 6
    assert all("trained so far: 0" in str(result.missing) for result in results)


@pytest.mark.parametrize(
    ("cell", "missing_metrics"),
    [
        ((3, 1), {"acc", "bwt", "forgetting", "average_anytime_accuracy"}),
        ((2, 1), {"bwt", "forgetting", "learning_accuracy", "average_anytime_accuracy"}),
        ((1, 1), {"fwt"}),
        ((0, 1), {"fwt"}),
        ((3, 2), {"acc", "learning_accuracy", "average_anytime_accuracy"}),
        ((2, 0), {"forgetting", "average_anytime_accuracy"}),
        ((1, 2), set()),
        ((0, 0), set()),
    ],
)
def test_missing_cell_makes_exactly_the_dependent_metrics_missing(
    matrix_of: MatrixOf, worked_example: ForgettingMatrix, cell: tuple[int, int], missing_metrics: set[str]
) -> None:
    R: list[list[float | None]] = [list(row) for row in worked_example.scores.tolist()]
    R[cell[0]][cell[1]] = None
    results = all_metrics(matrix_of(R))
    reason = f"R[{cell[0]}, {worked_example.tasks[cell[1]]}] was not evaluated"
    assert {result.name: result.missing for result in results if result.missing} == dict.fromkeys(
        missing_metrics, reason
    )
    assert {result.name for result in results if result.value is None} == missing_metrics


def test_missing_single_task_score_is_named(worked_example: ForgettingMatrix) -> None:
    expected = "S[agnews] was not evaluated"
    assert single_task_gap(worked_example, {"sst2": 0.8, "qqp": 1.0}).missing == expected
    assert retention(worked_example, S | {"agnews": float("nan")}).missing == expected


def test_missing_joint_score_is_named(worked_example: ForgettingMatrix) -> None:
    assert intransigence(worked_example, 2, {}) == Metric(
        "intransigence", None, "J[agnews] was not evaluated"
    )


def test_retention_is_undefined_if_a_single_task_score_is_zero(worked_example: ForgettingMatrix) -> None:
    assert retention(worked_example, S | {"agnews": 0.0}) == Metric(
        "retention", None, "undefined: S[agnews] is 0"
    )


@pytest.mark.parametrize("stage", [-1, 0, 4])
def test_metric_of_an_unfinished_stage_is_missing(worked_example: ForgettingMatrix, stage: int) -> None:
    expected = f"needs stage {stage}; finished stages: 3 of 3"
    assert overall_performance(worked_example, stage).missing == expected
    assert intransigence(worked_example, stage, S).missing == expected


def test_getting_worse_on_a_lower_is_better_task_is_forgetting(matrix_of: MatrixOf) -> None:
    matrix = matrix_of([[9.0, 9.0], [2.0, 8.0], [3.0, 4.0]], [False, False])
    assert value(forgetting(matrix)) == 1.0
    assert value(bwt(matrix)) == -1.0
    assert value(fwt(matrix)) == 1.0
    assert value(single_task_gap(matrix, {"sst2": 1.0, "agnews": 3.0})) == 1.0
    assert value(intransigence(matrix, 1, {"sst2": 1.5})) == 0.5


def test_averages_of_lower_is_better_scores_keep_their_sign(matrix_of: MatrixOf) -> None:
    matrix = matrix_of([[9.0, 9.0], [2.0, 8.0], [3.0, 4.0]], [False, False])
    assert [value(metric(matrix)) for metric in LEVELS] == [3.5, 3.0, 2.75]
    assert value(overall_performance(matrix, 1)) == 2.0


@pytest.mark.parametrize("metric", LEVELS)
def test_scores_of_opposite_directions_are_not_averaged(
    matrix_of: MatrixOf, metric: Callable[[ForgettingMatrix], Metric]
) -> None:
    result = metric(matrix_of([[0.5, 9.0], [0.8, 8.0], [0.7, 4.0]], [True, False]))
    assert result.value is None
    assert result.missing == "agnews and sst2 have metrics with opposite directions"


def test_retention_of_scores_of_opposite_directions_is_not_averaged(matrix_of: MatrixOf) -> None:
    matrix = matrix_of([[0.5, 9.0], [0.8, 8.0], [0.7, 4.0]], [True, False])
    assert retention(matrix, S).missing == "agnews and sst2 have metrics with opposite directions"


def test_direction_of_an_untrained_task_does_not_affect_the_averages(matrix_of: MatrixOf) -> None:
    assert value(acc(matrix_of([[0.5, 9.0], [0.8, 8.0]], [True, False]))) == 0.8


def test_no_metric_is_negative_zero(matrix_of: MatrixOf) -> None:
    values = [value(result) for result in all_metrics(matrix_of([[0.0, 0.0]] * 3, [False, False]))]
    assert [str(v) for v in values] == ["0.0"] * 6


def test_metrics_do_not_change_their_arguments(worked_example: ForgettingMatrix) -> None:
    scores, references = worked_example.scores.copy(), dict(S)
    all_metrics(worked_example)
    single_task_gap(worked_example, references)
    retention(worked_example, references)
    np.testing.assert_array_equal(worked_example.scores, scores)
    assert references == S


def test_all_metrics_are_in_the_documented_order(worked_example: ForgettingMatrix) -> None:
    assert [metric.name for metric in all_metrics(worked_example)] == [
        "acc",
        "bwt",
        "forgetting",
        "learning_accuracy",
        "average_anytime_accuracy",
        "fwt",
    ]


def test_every_registered_metric_returns_its_own_name(worked_example: ForgettingMatrix) -> None:
    arguments = {"t": 2, "k": 2, "J": S, "S": S}
    for entry in METRICS:
        result = entry.function(worked_example, *(arguments[need] for need in entry.needs))
        assert result.name == entry.name == entry.function.__name__
        assert value(result) == value(result)  # not NaN


def test_registered_metrics_are_unique_and_have_title_formula_and_source() -> None:
    assert len({entry.name for entry in METRICS}) == len({entry.title for entry in METRICS}) == 10
    assert all(entry.title and entry.formula and entry.source for entry in METRICS)


@quick
@given(rows())
def test_acc_is_between_the_worst_and_the_best_final_score(matrix_of: MatrixOf, R: Rows) -> None:
    final = R[-1][: len(R) - 1]
    assert min(final) - 1e-15 <= value(acc(matrix_of(R))) <= max(final) + 1e-15


@quick
@given(rows(least_stages=2))
def test_unchanged_scores_mean_zero_backward_transfer_and_zero_forgetting(
    matrix_of: MatrixOf, R: Rows
) -> None:
    unchanged = [[R[min(i, j + 1)][j] for j in range(len(R[0]))] for i in range(len(R))]
    matrix = matrix_of(unchanged)
    assert value(bwt(matrix)) == value(forgetting(matrix)) == 0
    assert value(acc(matrix)) == value(learning_accuracy(matrix))


@quick
@given(rows(least_stages=2))
def test_forgetting_is_at_least_the_negative_of_backward_transfer(matrix_of: MatrixOf, R: Rows) -> None:
    matrix = matrix_of(R)
    assert value(forgetting(matrix)) >= -value(bwt(matrix)) - 1e-12


@quick
@given(rows(least_stages=2))
def test_acc_is_learning_accuracy_plus_scaled_backward_transfer(matrix_of: MatrixOf, R: Rows) -> None:
    matrix, T = matrix_of(R), len(R) - 1
    expected = value(learning_accuracy(matrix)) + value(bwt(matrix)) * (T - 1) / T
    assert value(acc(matrix)) == pytest.approx(expected, abs=1e-12)


@quick
@given(rows(least_stages=2))
def test_metrics_of_error_rates_match_those_of_accuracies(matrix_of: MatrixOf, R: Rows) -> None:
    errors = [[1 - score for score in row] for row in R]
    accuracy, error = matrix_of(R), matrix_of(errors, [False] * len(R[0]))
    for metric in NEED_TWO_TASKS:
        assert value(metric(error)) == pytest.approx(value(metric(accuracy)), abs=1e-12)
    for metric in LEVELS:
        assert value(metric(error)) == pytest.approx(1 - value(metric(accuracy)), abs=1e-12)


@quick
@given(rows(), st.data())
def test_scores_above_the_diagonal_affect_only_forward_transfer(
    matrix_of: MatrixOf, R: Rows, data: st.DataObject
) -> None:
    def redrawn(i: int, j: int) -> float:
        return data.draw(st.floats(0, 1)) if i <= j else R[i][j]

    other = [[redrawn(i, j) for j in range(len(R[0]))] for i in range(len(R))]
    before, after = all_metrics(matrix_of(R)), all_metrics(matrix_of(other))
    assert [m for m in before if m.name != "fwt"] == [m for m in after if m.name != "fwt"]


@quick
@given(rows(least_stages=2))
def test_formulas_agree_with_numpy(matrix_of: MatrixOf, R: Rows) -> None:
    matrix, T = matrix_of(R), len(R) - 1
    lower = np.array(R)[1:, :T]  # (T, T)
    seen = np.where(np.tri(T, dtype=bool), lower, -np.inf)[:-1, :-1]
    expected = {
        "acc": lower[-1].mean(),
        "bwt": (lower[-1] - lower.diagonal())[:-1].mean(),
        "forgetting": (seen.max(axis=0) - lower[-1, :-1]).mean(),
        "learning_accuracy": lower.diagonal().mean(),
        "average_anytime_accuracy": np.mean([lower[k, : k + 1].mean() for k in range(T)]),
        "fwt": (lower.diagonal(offset=1) - np.array(R)[0, 1:T]).mean(),
    }
    assert {m.name: m.value for m in all_metrics(matrix)} == pytest.approx(expected, abs=1e-12)


@quick
@given(rows(), st.data())
def test_every_metric_is_finite_or_names_what_is_missing(
    matrix_of: MatrixOf, R: Rows, data: st.DataObject
) -> None:
    seen = [[data.draw(st.booleans()) for _ in row] for row in R]
    rows_with_gaps = [
        [x if is_seen else None for x, is_seen in zip(*both, strict=True)]
        for both in zip(R, seen, strict=True)
    ]
    directions = data.draw(st.lists(st.booleans(), min_size=len(R[0]), max_size=len(R[0])))
    matrix, complete = matrix_of(rows_with_gaps, directions), matrix_of(R, directions)
    reference = data.draw(st.dictionaries(st.sampled_from(matrix.tasks), st.floats(0, 1)))
    for found, known in zip(all_metrics(matrix, reference), all_metrics(complete, reference), strict=True):
        assert (found.value is None) == (found.missing is not None)
        assert found.value is None or math.isfinite(found.value)
        assert found.value in (None, known.value), "a missing cell changes no available metric"
