from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lori_cl.errors import LoriError
from lori_cl.lori_rules import cell_budget
from lori_cl.masks import Ledger, allocate
from lori_cl.masks.allocation import top_free

from .shapes import THOUSAND


@pytest.mark.parametrize(
    ("density", "cells", "budget"),
    [(0.1, 1000, 100), (0.1, 419_430, 41_943), (0.3, 10, 3), (0.029, 1000, 29), (1.0, 7, 7)],
)
def test_budget_is_the_rounded_share_of_the_cells(density: float, cells: int, budget: int) -> None:
    assert cell_budget(density, cells) == budget


def test_budget_is_exact_for_every_thousandth_of_a_thousand_cells() -> None:
    assert [cell_budget(n / 1000, 1000) for n in range(1, 1001)] == list(range(1, 1001))


def test_budget_is_at_least_one_cell() -> None:
    assert cell_budget(1e-6, 10) == 1


@given(density=st.floats(1e-3, 1.0), cells=st.integers(1, 10**7))
def test_budget_is_within_half_a_cell_of_the_exact_share(density: float, cells: int) -> None:
    exact = Fraction(density) * cells
    assume(exact >= 1)
    assert abs(cell_budget(density, cells) - exact) <= Fraction(1, 2) + Fraction(1, 10**6)


@st.composite
def choices(draw: st.DrawFn) -> tuple[list[float], list[bool], int]:
    """Scores with many ties, the free cells, and the number of cells to select."""
    cells = draw(st.integers(1, 60))
    scores_with_ties = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0])
    scores = draw(st.lists(scores_with_ties | st.floats(-3, 3), min_size=cells, max_size=cells))
    free = draw(st.lists(st.booleans(), min_size=cells, max_size=cells).filter(any))
    return scores, free, draw(st.integers(1, sum(free)))


@given(choice=choices())
def test_best_free_cells_are_selected_and_ties_go_to_the_lower_index(
    choice: tuple[list[float], list[bool], int],
) -> None:
    scores, free, k = choice
    candidates = [cell for cell in range(len(scores)) if free[cell]]
    expected = sorted(sorted(candidates, key=lambda cell: (-scores[cell], cell))[:k])
    chosen = top_free(torch.tensor(scores, dtype=torch.float64), torch.tensor(free), k)
    assert chosen.nonzero().squeeze(1).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@given(
    cells=st.integers(1, 5000),
    levels=st.integers(1, 40),
    free_part=st.floats(0.01, 1.0),
    part=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=50)
def test_selection_matches_a_stable_sort_in_any_dtype_and_with_ties(
    dtype: torch.dtype, cells: int, levels: int, free_part: float, part: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.randint(-levels, levels, (cells,), generator=generator) / 7).to(dtype)
    free = torch.rand(cells, generator=generator) < free_part
    k = round(part * int(free.sum()))
    plain = [score.item() for score in scores]
    by_rank = sorted(free.nonzero().squeeze(1).tolist(), key=lambda cell: (-plain[cell], cell))
    assert top_free(scores, free, k).nonzero().squeeze(1).tolist() == sorted(by_rank[:k])


def test_lowest_possible_score_of_a_free_cell_beats_a_taken_cell() -> None:
    scores = torch.full((4,), torch.finfo(torch.float32).min)
    free = torch.tensor([False, True, False, True])
    assert torch.equal(top_free(scores, free, 2), free)


def test_all_zero_scores_select_the_first_free_cells() -> None:
    free = torch.tensor([False, True, True, False, True, True])
    assert top_free(torch.zeros(6), free, 2).tolist() == [False, True, True, False, False, False]


def test_selection_changes_neither_scores_nor_free_cells() -> None:
    scores, free = torch.tensor([0.2, 0.1, 0.3]), torch.tensor([True, True, False])
    top_free(scores, free, 1)
    assert torch.equal(scores, torch.tensor([0.2, 0.1, 0.3]))
    assert free.tolist() == [True, True, False]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_score_of_a_strategy_is_an_error(bad: float) -> None:
    scores = torch.zeros(1000)
    scores[7] = bad
    with pytest.raises(
        LoriError, match="task 'one': the mask strategy returned a score that is not a finite"
    ):
        allocate(Ledger(THOUSAND), "one", scores, 500)


def test_strategy_that_does_not_score_every_cell_is_an_error() -> None:
    with pytest.raises(
        LoriError, match=r"returned scores of shape \(999,\) for 1,000 cells; return one score"
    ):
        allocate(Ledger(THOUSAND), "one", torch.zeros(999), 500)


def test_cells_compete_across_the_whole_model() -> None:
    scores = torch.zeros(1000)
    scores[300:800] = 1.0
    mask = allocate(Ledger(THOUSAND), "one", scores, 500)
    assert mask.count_by_site() == {"first": 0, "second": 500, "third": 0}
