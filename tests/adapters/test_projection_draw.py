from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lori_cl.adapters import draw_projection, projection
from lori_cl.adapters.projection import Distribution

from .tiny import adapted, llama

DISTRIBUTIONS: list[Distribution] = ["uniform", "normal"]


def digest_of(distribution: Distribution) -> str:
    return hashlib.sha256(draw_projection(3, "layers.0.q_proj", 8, 24, distribution).tobytes()).hexdigest()


def test_a_is_the_same_when_drawn_in_a_new_process() -> None:
    program = (
        "import hashlib, runpy, sys, numpy\n"
        "numpy.random.seed(1)\n"
        "draw_projection = runpy.run_path(sys.argv[1])['draw_projection']\n"
        "for distribution in ('uniform', 'normal'):\n"
        "    a = draw_projection(3, 'layers.0.q_proj', 8, 24, distribution)\n"
        "    print(hashlib.sha256(a.tobytes()).hexdigest())\n"
    )
    # Loaded by path: importing the package takes ten seconds for PEFT, which is not needed here.
    command = [sys.executable, "-c", program, projection.__file__]
    fresh = subprocess.run(command, capture_output=True, text=True, check=True)
    assert fresh.stdout.split() == [digest_of("uniform"), digest_of("normal")]


@pytest.mark.parametrize(
    ("distribution", "recorded"),
    [
        ("uniform", "3e9250719e1c14ba"),
        ("normal", "cf51bbaa8ecb0b76"),
    ],
)
def test_a_matches_the_recorded_digest(distribution: Distribution, recorded: str) -> None:
    # Artifacts hold B alone. If A were drawn differently, no existing run could be loaded.
    assert digest_of(distribution).startswith(recorded)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_drawing_leaves_the_global_generators_unchanged(distribution: Distribution) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    draw_projection(0, "site", 16, 16, distribution)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@given(
    seed=st.integers(0, 2**31 - 1),
    site=st.text(max_size=20),
    rank=st.integers(1, 16),
    in_features=st.integers(1, 40),
)
def test_uniform_a_is_float32_and_strictly_within_its_bounds(
    seed: int, site: str, rank: int, in_features: int
) -> None:
    drawn = draw_projection(seed, site, rank, in_features, "uniform")
    assert (drawn.dtype, drawn.shape) == (np.float32, (rank, in_features))
    assert np.abs(drawn).max() <= np.float32(1 / np.sqrt(in_features))


@given(seed=st.integers(0, 2**31 - 1), in_features=st.integers(1, 40))
def test_normal_a_is_finite(seed: int, in_features: int) -> None:
    assert np.isfinite(draw_projection(seed, "site", 16, in_features, "normal")).all()


class Extremes:
    """A bit generator that yields only the smallest and the largest word."""

    def __init__(self, seed: int) -> None:
        self.words = np.array([0, 2**64 - 1], dtype=np.uint64)

    def random_raw(self, size: int) -> np.ndarray:
        return np.resize(self.words, size)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_extreme_random_words_give_finite_numbers_of_both_signs(
    distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np.random, "PCG64", Extremes)
    lowest, highest = draw_projection(0, "site", 1, 2, distribution)[0]
    assert -np.inf < lowest < 0 < highest < np.inf


@pytest.mark.parametrize("in_features", [64, 384])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_variance_is_one_third_of_one_over_the_inputs(distribution: Distribution, in_features: int) -> None:
    drawn = draw_projection(0, "site", 200, in_features, distribution).astype(np.float64)
    assert drawn.var() * 3 * in_features == pytest.approx(1.0, rel=0.05)
    assert drawn.mean() * np.sqrt(3 * in_features) == pytest.approx(0.0, abs=0.03)


def test_uniform_and_normal_draws_have_the_expected_tails() -> None:
    beyond = {
        distribution: float((np.abs(draw_projection(0, "site", 200, 100, distribution)) > 0.1).mean())
        for distribution in DISTRIBUTIONS
    }
    assert beyond["uniform"] == 0.0
    assert beyond["normal"] == pytest.approx(0.0833, abs=0.01)  # beyond √3 standard deviations


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_different_seed_site_or_shape_gives_a_different_a(distribution: Distribution) -> None:
    draws = [
        draw_projection(seed, site, rank, 32, distribution)[:4]
        for seed, site, rank in [(0, "q", 4), (1, "q", 4), (0, "k", 4), (0, "q", 8)]
    ]
    for number, one in enumerate(draws):
        for other in draws[:number]:
            assert abs(float(np.corrcoef(one.ravel(), other.ravel())[0, 1])) < 0.3


def test_every_site_of_a_model_has_its_own_a() -> None:
    model, _ = adapted()
    drawn = [buffer.numpy().tobytes() for name, buffer in model.named_buffers() if "lora_A" in name]
    assert len(set(drawn)) == len(drawn) == 14


def test_a_in_the_model_is_the_one_drawn_for_its_site() -> None:
    model, adapter = adapted(llama(), seed=5)
    buffers = dict(model.named_buffers())
    for site in adapter.sites:
        drawn = draw_projection(5, site.name, site.rank, site.in_features, "uniform")
        assert np.array_equal(buffers[f"base_model.model.{site.name}.lora_A.default.weight"].numpy(), drawn)
