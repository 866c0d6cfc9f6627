from __future__ import annotations

import numpy as np
import pytest
import torch

from lori_cl.masks import STRATEGIES, Evidence, Ledger, allocate

from .shapes import THOUSAND


def evidence(seed: int = 0, cells: int = 1000) -> Evidence:
    generator = torch.Generator().manual_seed(99)
    calibrated_b = torch.randn(cells, generator=generator)
    return Evidence(cells, seed, calibrated_b, torch.rand(cells, generator=generator))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_gives_every_cell_a_finite_score(name: str) -> None:
    scores = STRATEGIES[name].score(evidence())
    assert scores.shape == (1000,)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_is_deterministic(name: str) -> None:
    score = STRATEGIES[name].score
    assert torch.equal(score(evidence()), score(evidence()))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_leaves_the_global_generators_unchanged(name: str) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    STRATEGIES[name].score(evidence())
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_leaves_its_evidence_unchanged(name: str) -> None:
    inputs = evidence()
    assert inputs.calibrated_b is not None
    assert inputs.gradients is not None
    before = inputs.calibrated_b.clone(), inputs.gradients.clone()
    STRATEGIES[name].score(inputs).zero_()
    assert torch.equal(inputs.calibrated_b, before[0])
    assert torch.equal(inputs.gradients, before[1])


def test_random_masks_depend_on_the_seed_alone() -> None:
    score = STRATEGIES["random"].score
    torch.manual_seed(1)
    np.random.seed(1)
    first = score(evidence(seed=5))
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(score(evidence(seed=5)), first)
    assert not torch.equal(score(evidence(seed=6)), first)


def test_random_scores_match_the_recorded_values() -> None:
    # Raw words of PCG64(0). A change would give every task of every run different cells.
    scores = STRATEGIES["random"].score(Evidence(cells=3, seed=0))
    assert scores.tolist() == [5737240835340368.0, 2430022687152954.0, 369056694262205.0]


def test_random_masks_spread_over_sites_in_proportion_to_their_size() -> None:
    scores = STRATEGIES["random"].score(evidence(seed=3))
    counts = allocate(Ledger(THOUSAND), "one", scores, 500).count_by_site()
    shares = {site: counts[site] / (out * rank) for site, (out, rank) in THOUSAND.items()}
    assert all(0.4 < share < 0.6 for share in shares.values()), shares


def test_magnitude_selects_the_cells_with_the_largest_absolute_calibration_value() -> None:
    calibrated_b = torch.tensor([0.1, -0.9, 0.0, 0.5, -0.2])
    scores = STRATEGIES["magnitude"].score(Evidence(5, 0, calibrated_b))
    mask = allocate(Ledger({"site": (5, 1)}), "one", scores, 2)
    assert mask.flat().tolist() == [False, True, False, True, False]


def test_magnitude_without_calibration_raises_an_assertion_error() -> None:
    with pytest.raises(AssertionError, match="calibration"):
        STRATEGIES["magnitude"].score(Evidence(5, 0))


def test_gradient_selects_the_cells_with_the_largest_gradients() -> None:
    scores = STRATEGIES["gradient"].score(Evidence(4, 0, gradients=torch.tensor([0.1, 0.9, 0.0, 0.5])))
    mask = allocate(Ledger({"site": (4, 1)}), "one", scores, 2)
    assert mask.flat().tolist() == [False, True, False, True]


def test_every_strategy_declares_its_required_evidence() -> None:
    assert {name: strategy.needs for name, strategy in STRATEGIES.items()} == {
        "magnitude": "calibrated_b",
        "gradient": "gradients",
        "random": "nothing",
    }
