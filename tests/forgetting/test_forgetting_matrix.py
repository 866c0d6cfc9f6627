from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from lori_cl.errors import InputError
from lori_cl.forgetting import Cell, ForgettingMatrix

MatrixOf = Callable[..., ForgettingMatrix]


def test_a_cell_not_evaluated_is_nan_with_no_examples_and_no_source() -> None:
    matrix = ForgettingMatrix.from_cells(["a", "b"], "current", 1, {(1, 0): Cell(0.5, 40, 0.08, "proved")})
    np.testing.assert_array_equal(matrix.scores, [[math.nan, math.nan], [0.5, math.nan]])
    np.testing.assert_array_equal(matrix.stderr, [[math.nan, math.nan], [0.08, math.nan]])
    np.testing.assert_array_equal(matrix.n, [[0, 0], [40, 0]])
    assert matrix.source == ((None, None), ("proved", None))


def test_a_score_of_zero_is_a_score() -> None:
    matrix = ForgettingMatrix.from_cells(["a"], "current", 1, {(1, 0): Cell(0.0, 10)})
    np.testing.assert_array_equal(matrix.scores, [[math.nan], [0.0]])
    assert matrix.source == ((None,), ("measured",))


def test_a_run_that_is_not_finished_has_fewer_stages_than_tasks() -> None:
    matrix = ForgettingMatrix.from_cells(["a", "b", "c"], "current", 1, {})
    assert matrix.stages == 1
    assert matrix.scores.shape == (2, 3)


@pytest.mark.parametrize("array", ["scores", "n", "stderr"])
def test_nothing_can_write_into_the_arrays(worked: ForgettingMatrix, array: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(worked, array)[0, 0] = 1


def test_an_array_cannot_be_made_writeable_again(worked: ForgettingMatrix) -> None:
    with pytest.raises(ValueError, match="WRITEABLE"):
        worked.scores.setflags(write=True)


def test_a_dict_changed_later_does_not_change_the_matrix() -> None:
    cells = {(1, 0): Cell(0.5, 10)}
    matrix = ForgettingMatrix.from_cells(["a"], "current", 1, cells)
    cells[(1, 0)] = Cell(0.9, 10)
    assert matrix.scores[1, 0] == 0.5


def test_equal_matrices_are_equal_hash_alike_and_survive_pickling(
    worked: ForgettingMatrix, matrix_of: MatrixOf
) -> None:
    again = matrix_of([[0.5, 0.25, 0.05], [0.6, 0.7, 0.1], [0.8, 0.5, 0.2], [0.7, 0.65, 0.9]])
    copy = pickle.loads(pickle.dumps(worked))
    assert worked == again == copy
    assert len({worked, again, copy}) == 1


def test_only_lower_is_better_columns_are_negated_and_scores_stay_as_given(matrix_of: MatrixOf) -> None:
    matrix = matrix_of([[0.5, 3.0], [0.8, 2.0]], [True, False])
    np.testing.assert_array_equal(matrix.oriented(), [[0.5, -3.0], [0.8, -2.0]])
    np.testing.assert_array_equal(matrix.scores, [[0.5, 3.0], [0.8, 2.0]])


def test_change_since_learned_starts_at_zero_on_the_diagonal_and_is_nan_above(
    worked: ForgettingMatrix,
) -> None:
    nan = math.nan
    np.testing.assert_allclose(
        worked.change_since_learned(),
        [[nan, nan, nan], [0, nan, nan], [0.2, 0, nan], [0.1, 0.15, 0]],
        atol=1e-15,
    )


def test_change_since_learned_of_a_lower_is_better_task_is_negative_when_it_gets_worse(
    matrix_of: MatrixOf,
) -> None:
    matrix = matrix_of([[9.0, 9.0], [2.0, 9.0], [3.0, 4.0]], [False, False])
    assert matrix.change_since_learned()[2, 0] == -1.0


def test_change_since_learned_of_a_run_without_stages_is_all_nan(matrix_of: MatrixOf) -> None:
    assert np.isnan(matrix_of([[0.1, 0.2]]).change_since_learned()).all()


def test_change_since_learned_is_nan_below_a_diagonal_that_was_not_evaluated(matrix_of: MatrixOf) -> None:
    change = matrix_of([[0.1, 0.1], [None, 0.1], [0.5, 0.5]]).change_since_learned()
    assert np.isnan(change[:, 0]).all()
    assert change[2, 1] == 0


def test_a_cell_outside_the_matrix_is_refused_by_its_place() -> None:
    with pytest.raises(InputError, match=r"stage 3, task index 1\).*stages 0 to 2.*indices 0 to 1"):
        ForgettingMatrix.from_cells(["a", "b"], "current", 2, {(3, 1): Cell(0.5, 10)})


def test_a_task_stands_once(matrix_of: MatrixOf) -> None:
    with pytest.raises(InputError, match=r"\['a', 'a'\]"):
        ForgettingMatrix.from_cells(["a", "a"], "current", 1, {})


def test_more_stages_than_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="3 stages do not fit 2 tasks"):
        ForgettingMatrix.from_cells(["a", "b"], "current", 3, {})


def test_a_direction_per_task_is_required() -> None:
    with pytest.raises(InputError, match="2 entries"):
        ForgettingMatrix.from_cells(["a", "b"], "current", 1, {}, [True])


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=str(score)):
        Cell(score, 10)


def test_a_score_over_no_examples_is_refused() -> None:
    with pytest.raises(InputError, match="0 examples"):
        Cell(0.5, 0)
