from __future__ import annotations

import re

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lori_cl.errors import CapacityExhausted
from lori_cl.lori_rules import cell_budget
from lori_cl.masks import Claim, Ledger, Mask, allocate, require_free
from lori_cl.masks.mask import Shapes

from .shapes import THOUSAND, cells_of, shapes


def claimed(ledger: Ledger, tasks: int, k: int) -> Ledger:
    """Return the ledger after a number of tasks claimed k cells each."""
    for number in range(tasks):
        scores = torch.rand(ledger.cells, generator=torch.Generator().manual_seed(number))
        ledger = ledger.claim(f"task{number}", allocate(ledger, f"task{number}", scores, k))
    return ledger


def assert_disjoint(ledger: Ledger) -> None:
    owners = torch.stack([claim.mask.flat() for claim in ledger.claims]).sum(0)
    assert int(owners.max()) <= 1


@given(
    sites=shapes,
    requests=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    levels=st.integers(1, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_masks_are_disjoint_and_exactly_as_large_as_requested(
    sites: Shapes, requests: list[int], levels: int, seed: int
) -> None:
    ledger = Ledger(sites)
    generator = torch.Generator().manual_seed(seed)
    for number, k in enumerate(requests):
        scores = torch.randint(
            levels, (ledger.cells,), generator=generator
        ).float()  # 1 level: all scores are 0
        if k > ledger.free_cells:
            with pytest.raises(CapacityExhausted):
                allocate(ledger, f"task{number}", scores, k)
            continue
        mask = allocate(ledger, f"task{number}", scores, k)
        assert mask.count() == k
        ledger = ledger.claim(f"task{number}", mask)
        assert_disjoint(ledger)
    union = torch.zeros(cells_of(sites), dtype=torch.bool)
    for claim in ledger.claims:
        union |= claim.mask.flat()
    assert torch.equal(ledger.free(), ~union)
    assert ledger.free_cells == int(ledger.free().sum())


def test_ten_tasks_of_a_tenth_each_fit_with_all_zero_scores() -> None:
    ledger = Ledger(THOUSAND)
    for number in range(10):
        mask = allocate(ledger, f"task{number}", torch.zeros(1000), cell_budget(0.1, ledger.cells))
        assert mask.count() == 100
        ledger = ledger.claim(f"task{number}", mask)
    assert_disjoint(ledger)
    assert ledger.free_cells == 0


def test_eleventh_task_of_a_tenth_each_is_refused_with_the_numbers() -> None:
    ledger = claimed(Ledger(THOUSAND), tasks=10, k=100)
    with pytest.raises(CapacityExhausted, match="'eleventh' needs 100 cells; 0 of 1,000 are free"):
        allocate(ledger, "eleventh", torch.ones(1000), 100)


def test_more_tasks_than_cells_need_a_higher_rank() -> None:
    with pytest.raises(CapacityExhausted, match=r"higher adapter\.rank") as caught:
        require_free("late", 1, 0, cells=7, tasks=8, even=True)
    assert "retire-task" not in str(caught.value), "no task is trained yet"


def test_task_that_needs_more_than_the_free_cells_is_refused_with_the_numbers() -> None:
    ledger = claimed(Ledger({"site": (1300, 1)}), tasks=1, k=1200)
    with pytest.raises(CapacityExhausted, match="'late' needs 1,250 cells; 100 of 1,300 are free"):
        ledger.require("late", 1250)


@given(cells=st.integers(1, 10**7), tasks=st.integers(1, 30))
@example(cells=1006, tasks=10)  # 10 × round(100.6) = 1010
@example(cells=10**6, tasks=1500)
def test_suggested_density_lets_all_tasks_fit(cells: int, tasks: int) -> None:
    assume(cells >= 10 * tasks)
    with pytest.raises(CapacityExhausted) as caught:
        require_free("late", k=cells, free=0, cells=cells, tasks=tasks)
    named = re.search(r"masks\.density at most (\S+) for", str(caught.value))
    assert named is not None
    assert 0.8 * cells <= tasks * cell_budget(float(named[1]), cells) <= cells


def test_all_free_cells_may_be_claimed() -> None:
    ledger = claimed(Ledger(THOUSAND), tasks=1, k=400)
    mask = allocate(ledger, "rest", torch.zeros(1000), 600)
    assert torch.equal(mask.flat(), ledger.free())


def test_claim_does_not_change_the_original_ledger() -> None:
    before = claimed(Ledger(THOUSAND), tasks=2, k=100)
    free, claims = before.free(), before.claims
    after = before.claim("third", allocate(before, "third", torch.zeros(1000), 100))
    assert before.claims == claims
    assert before.free_cells == 800
    assert torch.equal(before.free(), free)
    assert [claim.task for claim in after.claims] == ["task0", "task1", "third"]


def test_claim_on_a_taken_cell_raises_an_assertion_error() -> None:
    ledger = claimed(Ledger(THOUSAND), tasks=1, k=1)
    everything = Mask.from_flat(torch.ones(1000, dtype=torch.bool), THOUSAND)
    with pytest.raises(AssertionError, match="'greedy'"):
        ledger.claim("greedy", everything)


def test_changing_the_returned_free_mask_does_not_change_the_ledger() -> None:
    ledger = claimed(Ledger(THOUSAND), tasks=1, k=100)
    ledger.free().zero_()
    assert ledger.free_cells == int(ledger.free().sum()) == 900


def test_ledger_rebuilt_from_packed_claims_has_the_same_free_cells() -> None:
    ledger = claimed(Ledger(THOUSAND), tasks=3, k=123)
    claims = tuple(
        Claim(claim.task, Mask.from_packed(claim.mask.packed(), THOUSAND)) for claim in ledger.claims
    )
    assert torch.equal(Ledger(THOUSAND, claims).free(), ledger.free())


@given(sites=shapes, rows=st.lists(st.integers(1, 3), min_size=1, max_size=3), seed=st.integers(0, 2**31 - 1))
def test_growing_keeps_every_claim_at_its_row_and_column(sites: Shapes, rows: list[int], seed: int) -> None:
    ledger = claimed(Ledger(sites), tasks=1, k=max(1, cells_of(sites) // 2))
    before = ledger
    for more in rows:
        ledger = ledger.grown(more)
    assert ledger.shapes == {site: (out, rank + sum(rows)) for site, (out, rank) in sites.items()}
    assert ledger.free_cells - before.free_cells == sum(out * sum(rows) for out, _ in sites.values())
    assert ledger.free_cells == int(ledger.free().sum())
    for site, (_, rank) in sites.items():
        old, new = (each.claims[0].mask.by_site[site] for each in (before, ledger))
        assert torch.equal(new[:, :rank], old)
        assert not new[:, rank:].any()


def test_growing_does_not_change_the_smaller_ledger() -> None:
    before = claimed(Ledger(THOUSAND), tasks=1, k=100)
    packed = before.claims[0].mask.digest()
    before.grown(2).free().zero_()
    assert (before.shapes, before.claims[0].mask.digest(), before.free_cells) == (THOUSAND, packed, 900)


def test_grown_ledger_still_allows_overlap() -> None:
    ledger = Ledger(THOUSAND, overlap=True).grown(1)
    ledger = ledger.claim("one", allocate(ledger, "one", torch.zeros(1200), 1200))
    assert ledger.free_cells == int(ledger.free().sum()) == 1200


def test_with_overlap_two_tasks_may_claim_the_same_cells_and_all_stay_free() -> None:
    ledger = Ledger(THOUSAND, overlap=True)
    scores = torch.arange(1000.0)
    for task in ("one", "two"):
        ledger = ledger.claim(task, allocate(ledger, task, scores, 600))
    assert torch.equal(ledger.claims[0].mask.flat(), ledger.claims[1].mask.flat())
    assert ledger.free_cells == 1000
    with pytest.raises(CapacityExhausted, match="1,001 cells; 1,000 of 1,000"):
        ledger.require("three", 1001)
