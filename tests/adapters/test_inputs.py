"""Input moments of sites, and projections A that are orthogonal to the inputs of earlier tasks."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lori_cl.adapters import InputMoments, principal_directions, project_out, record_inputs

from .tiny import MODELS, VOCABULARY, adapted, batch, bert, gpt2, llama, opt

D = 12


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal(columns: int, seed: int = 1) -> Tensor:
    return torch.linalg.qr(random(D, columns, seed=seed)).Q


def moment_of(*energies: float, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Return a moment matrix with these eigenvalues, and its eigenvectors."""
    directions = orthonormal(len(energies), seed)
    return directions @ torch.diag(torch.tensor(energies, dtype=torch.float64)) @ directions.T, directions


def energy_in(moment: Tensor, directions: Tensor) -> float:
    return float((directions.T @ moment @ directions).trace() / moment.trace())


NONE = torch.zeros(D, 0, dtype=torch.float64)


def assert_orthonormal(directions: Tensor, known: Tensor = NONE) -> None:
    both = torch.cat([known, directions], dim=1)
    torch.testing.assert_close(both.T @ both, torch.eye(both.shape[1]).double(), atol=1e-7, rtol=0)


@given(taken=st.integers(0, D - 1), rows=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_projected_a_is_orthogonal_to_the_directions_and_keeps_its_row_norms(
    taken: int, rows: int, seed: int
) -> None:
    drawn, directions = random(rows, D, seed=seed).float(), orthonormal(taken, seed + 1)
    before = drawn.clone()
    projected = project_out(drawn, directions)
    assert projected.dtype == torch.float32
    assert (projected.double() @ directions).norm(dim=1).max() < 1e-6 * drawn.norm(dim=1).max()
    torch.testing.assert_close(projected.norm(dim=1), drawn.norm(dim=1))
    assert torch.equal(drawn, before)


def test_a_is_unchanged_without_directions_to_exclude() -> None:
    drawn = random(4, D).float()
    assert torch.equal(project_out(drawn, NONE), drawn)


def test_a_is_orthogonal_even_if_it_was_almost_entirely_in_the_directions() -> None:
    directions = orthonormal(5)
    drawn = (random(3, 5) @ directions.T + 1e-5 * random(3, D, seed=9)).float()
    assert (project_out(drawn, directions).double() @ directions).abs().max() < 1e-6


@given(
    energy=st.floats(0.05, 1.0),
    known=st.integers(0, 6),
    rank=st.integers(1, D),
    seed=st.integers(0, 10**6),
)
def test_fewest_directions_that_hold_the_energy_are_selected(
    energy: float, known: int, rank: int, seed: int
) -> None:
    inputs = random(40, rank, seed=seed) @ random(rank, D, seed=seed + 1)
    moment, before = inputs.T @ inputs, orthonormal(known, seed + 2)
    found = principal_directions(moment, before, energy, None)
    assert_orthonormal(found, before)
    assert energy_in(moment, torch.cat([before, found], dim=1)) > energy - 1e-9
    if found.shape[1]:
        fewer = torch.cat([before, found[:, :-1]], dim=1)
        assert energy_in(moment, fewer) < energy


def test_directions_are_the_eigenvectors_of_the_largest_eigenvalues() -> None:
    moment, directions = moment_of(5.0, 3.0, 1.0, 1.0)
    found = principal_directions(moment, NONE, 0.79, None)
    torch.testing.assert_close((found.T @ directions[:, :2]).abs(), torch.eye(2).double())


@pytest.mark.parametrize(("limit", "taken"), [(1, 1), (3, 3), (None, 4), (99, 4)])
def test_number_of_directions_is_limited(limit: int | None, taken: int) -> None:
    moment, _ = moment_of(5.0, 3.0, 1.0, 1.0)
    assert principal_directions(moment, NONE, 0.95, limit).shape == (D, taken)


def test_known_directions_are_not_selected_again() -> None:
    moment, directions = moment_of(5.0, 3.0, 1.0, 1.0)
    assert principal_directions(moment, directions[:, :2], 0.79, None).shape == (D, 0)
    found = principal_directions(moment, directions[:, 1:2], 0.79, None)
    torch.testing.assert_close((found.T @ directions[:, :1]).abs(), torch.eye(1).double())


def test_zero_moment_gives_no_directions() -> None:
    assert principal_directions(torch.zeros(D, D).double(), NONE, 1.0, None).shape == (D, 0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("seed", range(5))
def test_full_energy_of_few_inputs_selects_no_unused_direction(scale: float, seed: int) -> None:
    inputs = (scale * random(5, D, seed=seed)).float().double()
    assert principal_directions(inputs.T @ inputs, NONE, 1.0, None).shape == (D, 5)


@pytest.mark.parametrize("seed", range(5))
def test_rounding_residue_of_known_directions_is_not_a_new_direction(seed: int) -> None:
    inputs = random(5, D, seed=seed)
    moment = inputs.T @ inputs
    known = principal_directions(moment, NONE, 1.0, None).float().double()  # as stored in a stage
    assert principal_directions(moment, known, 1.0, None).shape == (D, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_rounding_noise_of_inputs_is_not_a_direction(dtype: torch.dtype) -> None:
    width, rank = 64, 8
    generator = torch.Generator().manual_seed(0)
    spanned = torch.randn(500, rank, generator=generator) @ torch.randn(rank, width, generator=generator)
    rows = spanned.to(dtype).double()
    nothing = torch.zeros(width, 0, dtype=torch.float64)
    assert principal_directions(rows.T @ rows, nothing, 1.0, None, dtype).shape == (width, rank)


def test_no_direction_is_left_when_all_are_known() -> None:
    inputs = random(50, D)
    known = orthonormal(D)
    assert principal_directions(inputs.T @ inputs, known, 1.0, None).shape == (D, 0)


def recorded(model: Any, layers: Any, ids: Tensor, mask: Tensor | None = None) -> InputMoments:
    model.eval()
    with torch.no_grad(), record_inputs(model, layers) as moments:
        model(input_ids=ids, attention_mask=mask)
    return moments


def by_site(moments: InputMoments) -> dict[str, Tensor]:
    return {site: moments.sums[leader] for leader, sites in moments.sites.items() for site in sites}


@pytest.mark.parametrize("name", MODELS)
def test_moments_match_the_inputs_of_every_site(name: str) -> None:
    model, adapter = adapted(MODELS[name]())
    read: dict[str, Tensor] = {}
    for site, layer in adapter.layers.items():
        layer.register_forward_pre_hook(lambda _, args, site=site: read.__setitem__(site, args[0]))
    found = by_site(recorded(model, adapter.layers, batch()))
    assert found.keys() == read.keys() == adapter.layers.keys()
    for site, x in read.items():
        rows = x.detach().double().flatten(0, -2)
        assert found[site].dtype == torch.float64
        torch.testing.assert_close(found[site], rows.T @ rows, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_query_key_and_value_sites_share_one_moment(name: str) -> None:
    model, adapter = adapted(MODELS[name]())
    groups = [
        {site.rsplit(".", 1)[1] for site in s}
        for s in recorded(model, adapter.layers, batch()).sites.values()
    ]
    sharing = {"q_proj", "k_proj", "v_proj"} if name == "llama" else {"query", "key", "value"}
    assert groups.count(sharing) == 2
    if name == "llama":
        assert groups.count({"gate_proj", "up_proj"}) == 2


@pytest.mark.parametrize("name", MODELS)
def test_moments_of_several_passes_add_up_under_the_same_sharing(name: str) -> None:
    model, adapter = adapted(MODELS[name]())
    model.eval()
    with torch.no_grad(), record_inputs(model, adapter.layers) as both:
        for seed in (0, 1):
            model(input_ids=batch(seed))
    one, two = (recorded(model, adapter.layers, batch(seed)) for seed in (0, 1))
    assert both.sites == one.sites == two.sites
    for leader, moment in both.sums.items():
        torch.testing.assert_close(moment, one.sums[leader] + two.sums[leader])


@pytest.mark.parametrize(
    ("model_of", "side"),
    [(llama, "left"), (llama, "right"), (bert, "right")],  # BERT has absolute positions
    ids=["llama-left", "llama-right", "bert-right"],
)
def test_padding_tokens_are_excluded_from_moments(model_of: Any, side: str) -> None:
    model, adapter = adapted(model_of())
    ids = torch.randint(VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(5))
    real = torch.tensor([False, False, True, True, True, True])
    real = real if side == "left" else real.flip(0)
    mask = torch.stack([torch.ones_like(real), real]).long()
    padded = by_site(recorded(model, adapter.layers, ids * mask, mask))
    full, cut = (by_site(recorded(model, adapter.layers, x[None])) for x in (ids[0], ids[1][real]))
    for site in adapter.layers:
        torch.testing.assert_close(padded[site], full[site] + cut[site], rtol=1e-5, atol=1e-6)


def test_padding_is_excluded_even_if_the_model_flattens_its_tokens() -> None:
    model, adapter = adapted(opt())
    ids = torch.randint(VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(5))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    padded = by_site(recorded(model, adapter.layers, ids, mask))
    full, cut = (by_site(recorded(model, adapter.layers, x[None])) for x in (ids[0], ids[1, :2]))
    assert any(site.endswith("fc2") for site in padded)
    for site in adapter.layers:
        torch.testing.assert_close(padded[site], full[site] + cut[site], rtol=1e-5, atol=1e-6)


def test_dtype_of_the_inputs_is_recorded() -> None:
    model, adapter = adapted(llama().to(torch.bfloat16))
    assert set(recorded(model, adapter.layers, batch()).dtypes.values()) == {torch.bfloat16}


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_every_hook_is_removed_even_after_an_error() -> None:
    model, adapter = adapted()
    before = hooks(model)
    with record_inputs(model, adapter.layers):
        assert hooks(model) == before + len(adapter.layers) + 1
    assert hooks(model) == before
    out_of_vocabulary = batch() + VOCABULARY
    with pytest.raises(IndexError), record_inputs(model, adapter.layers):
        model(input_ids=out_of_vocabulary)
    assert hooks(model) == before


def test_recording_changes_no_output_and_holds_no_input() -> None:
    model, adapter = adapted()
    model.eval()
    read: list[weakref.ref[Tensor]] = []
    for layer in adapter.layers.values():
        layer.register_forward_pre_hook(lambda _, args: read.append(weakref.ref(args[0])))
    with torch.no_grad():
        plain = model(input_ids=batch()).logits
        read.clear()
        with record_inputs(model, adapter.layers):
            assert torch.equal(model(input_ids=batch()).logits, plain)
            gc.collect()
            assert len(read) == len(adapter.layers)
            assert not [ref for ref in read if ref() is not None]


@pytest.mark.parametrize("model_of", [llama, gpt2], ids=["llama", "gpt2"])
def test_moments_are_the_same_under_gradient_checkpointing(model_of: Any) -> None:
    model, adapter = adapted(model_of())
    plain = by_site(recorded(model, adapter.layers, batch()))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    with torch.no_grad(), record_inputs(model, adapter.layers) as moments:
        model(input_ids=batch())
    for site, moment in by_site(moments).items():
        torch.testing.assert_close(moment, plain[site])


def test_moments_of_a_bf16_base_are_summed_in_float64() -> None:
    model, adapter = adapted(llama().to(torch.bfloat16))
    for moment in recorded(model, adapter.layers, batch()).sums.values():
        assert moment.dtype == torch.float64
        assert bool(moment.isfinite().all())
        assert torch.equal(moment, moment.T)
