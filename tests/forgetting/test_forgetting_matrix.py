from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from lori_cl.errors import InputError
from lori_cl.forgetting import Cell, ForgettingMatrix

MatrixOf = Callable[..., ForgettingMatrix]


def test_missing_cell_is_nan_with_no_examples_and_no_source() -> None:
    matrix = ForgettingMatrix.from_cells(["a", "b"], "current", 1, {(1, 0): Cell(0.5, 40, 0.08, "cached")})
    np.testing.assert_array_equal(matrix.scores, [[math.nan, math.nan], [0.5, math.nan]])
    np.testing.assert_array_equal(matrix.stderr, [[math.nan, math.nan], [0.08, math.nan]])
    np.testing.assert_array_equal(matrix.n, [[0, 0], [40, 0]])
    assert matrix.source == ((None, None), ("cached", None))


def test_score_of_zero_is_not_missing() -> None:
    matrix = ForgettingMatrix.from_cells(["a"], "current", 1, {(1, 0): Cell(0.0, 10)})
    np.testing.assert_array_equal(matrix.scores, [[math.nan], [0.0]])
    assert matrix.source == ((None,), ("measured",))


def test_unfinished_run_has_fewer_stages_than_tasks() -> None:
    matrix = ForgettingMatrix.from_cells(["a", "b", "c"], "current", 1, {})
    assert matrix.stages == 1
    assert matrix.scores.shape == (2, 3)


@pytest.mark.parametrize("array", ["scores", "n", "stderr"])
def test_arrays_are_read_only(worked_example: ForgettingMatrix, array: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(worked_example, array)[0, 0] = 1


def test_arrays_cannot_be_made_writeable(worked_example: ForgettingMatrix) -> None:
    with pytest.raises(ValueError, match="WRITEABLE"):
        worked_example.scores.setflags(write=True)


def test_later_changes_to_the_cells_do_not_change_the_matrix() -> None:
    cells = {(1, 0): Cell(0.5, 10)}
    matrix = ForgettingMatrix.from_cells(["a"], "current", 1, cells)
    cells[(1, 0)] = Cell(0.9, 10)
    assert matrix.scores[1, 0] == 0.5


def test_equal_matrices_have_equal_hashes_and_survive_pickling(
    worked_example: ForgettingMatrix, matrix_of: MatrixOf
) -> None:
    equal = matrix_of([[0.5, 0.25, 0.05], [0.6, 0.7, 0.1], [0.8, 0.5, 0.2], [0.7, 0.65, 0.9]])
    copy = pickle.loads(pickle.dumps(worked_example))
    assert worked_example == equal == copy
    assert len({worked_example, equal, copy}) == 1


def test_oriented_negates_only_lower_is_better_columns(matrix_of: MatrixOf) -> None:
    matrix = matrix_of([[0.5, 3.0], [0.8, 2.0]], [True, False])
    np.testing.assert_array_equal(matrix.oriented(), [[0.5, -3.0], [0.8, -2.0]])
    np.testing.assert_array_equal(matrix.scores, [[0.5, 3.0], [0.8, 2.0]])


def test_change_since_trained_is_zero_on_the_diagonal_and_nan_above(
    worked_example: ForgettingMatrix,
) -> None:
    nan = math.nan
    np.testing.assert_allclose(
        worked_example.change_since_learned(),
        [[nan, nan, nan], [0, nan, nan], [0.2, 0, nan], [0.1, 0.15, 0]],
        atol=1e-15,
    )


def test_change_of_a_lower_is_better_task_is_negative_if_it_gets_worse(
    matrix_of: MatrixOf,
) -> None:
    matrix = matrix_of([[9.0, 9.0], [2.0, 9.0], [3.0, 4.0]], [False, False])
    assert matrix.change_since_learned()[2, 0] == -1.0


def test_change_of_a_run_without_stages_is_all_nan(matrix_of: MatrixOf) -> None:
    assert np.isnan(matrix_of([[0.1, 0.2]]).change_since_learned()).all()


def test_change_is_nan_below_a_missing_diagonal_cell(matrix_of: MatrixOf) -> None:
    change = matrix_of([[0.1, 0.1], [None, 0.1], [0.5, 0.5]]).change_since_learned()
    assert np.isnan(change[:, 0]).all()
    assert change[2, 1] == 0


def test_error_about_a_cell_outside_the_matrix_names_its_indices() -> None:
    with pytest.raises(InputError, match=r"stage 3, task index 1\).*stages 0 to 2.*indices 0 to 1"):
        ForgettingMatrix.from_cells(["a", "b"], "current", 2, {(3, 1): Cell(0.5, 10)})


def test_duplicate_tasks_are_refused(matrix_of: MatrixOf) -> None:
    with pytest.raises(InputError, match=r"\['a', 'a'\]"):
        ForgettingMatrix.from_cells(["a", "a"], "current", 1, {})


def test_more_stages_than_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="3 stages do not match 2 tasks"):
        ForgettingMatrix.from_cells(["a", "b"], "current", 3, {})


def test_a_direction_per_task_is_required() -> None:
    with pytest.raises(InputError, match="2 entries"):
        ForgettingMatrix.from_cells(["a", "b"], "current", 1, {}, [True])


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_non_finite_score_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=str(score)):
        Cell(score, 10)


def test_a_score_over_no_examples_is_refused() -> None:
    with pytest.raises(InputError, match="needs at least one example, not 0"):
        Cell(0.5, 0)
