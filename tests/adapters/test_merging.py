"""Merging several adapters into one with every merge method."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils
from torch import Tensor

from lori_cl.adapters import MERGES, LoRAWeights, MergeSettings, lora_layers, merge, read_weights
from lori_cl.adapters.merging.pruning import pruned
from lori_cl.errors import InputError

from .tiny import llama

SHAPES = {"first": (6, 5), "second": (4, 7)}
PRUNING = {"magnitude": "magnitude_prune", "ties": "ties", "dare": "dare_linear", "dare-ties": "dare_ties"}
"""Ours, and PEFT's name for it."""


def adapter(seed: int, *, rank: int = 3, a_seed: int | None = None, scaling: float = 2.0) -> LoRAWeights:
    """A random dense adapter; adapters with equal `a_seed` and rank share their projections A."""
    of_b = torch.Generator().manual_seed(seed)
    of_a = torch.Generator().manual_seed(100 + (seed if a_seed is None else a_seed))
    return LoRAWeights(
        a={site: torch.randn(rank, d_in, generator=of_a) for site, (_, d_in) in SHAPES.items()},
        b={site: torch.randn(out, rank, generator=of_b) for site, (out, _) in SHAPES.items()},
        scaling=scaling,
    )


def sparse(full: LoRAWeights, keep: Mapping[str, Tensor]) -> LoRAWeights:
    return LoRAWeights(full.a, {site: b * keep[site] for site, b in full.b.items()}, full.scaling)


def checkerboard(parity: int) -> dict[str, Tensor]:
    return {
        site: (torch.arange(out)[:, None] + torch.arange(3)) % 2 == parity
        for site, (out, _) in SHAPES.items()
    }


def summed(adapters: Sequence[LoRAWeights], weights: Sequence[float], site: str) -> Tensor:
    return sum(w * each.delta(site) for w, each in zip(weights, adapters, strict=True))  # type: ignore[return-value]


DIFFERENT_AS = [adapter(1), adapter(2, rank=5, scaling=0.5), adapter(3)]
SHARED_AS = [adapter(seed, a_seed=0) for seed in (1, 2, 3)]


@pytest.mark.parametrize("method", ["cat", "sum"])
@pytest.mark.parametrize("adapters", [DIFFERENT_AS, SHARED_AS], ids=["different As", "shared As"])
def test_cat_and_sum_are_the_weighted_sum_of_the_updates(
    adapters: Sequence[LoRAWeights], method: str
) -> None:
    merged = merge(adapters, method, [0.4, 1.5, -0.3])
    assert merged.truncation_error is None
    for site in SHAPES:
        torch.testing.assert_close(merged.weights.delta(site), summed(adapters, [0.4, 1.5, -0.3], site))


def test_default_weight_of_every_adapter_is_one() -> None:
    merged = merge(SHARED_AS, "sum")
    for site in SHAPES:
        torch.testing.assert_close(merged.weights.delta(site), summed(SHARED_AS, [1, 1, 1], site))


def test_adapters_with_a_shared_a_merge_without_additional_rank() -> None:
    merged = merge(SHARED_AS, "cat", [0.4, 0.3, 0.2])
    assert merged.weights.a["first"].shape == (3, 5)
    assert merge(DIFFERENT_AS, "cat").weights.a["first"].shape == (3 + 5 + 3, 5)
    for site in SHAPES:
        a = torch.cat([each.a[site] for each in SHARED_AS])
        b = torch.cat([w * 2.0 * each.b[site] for w, each in zip([0.4, 0.3, 0.2], SHARED_AS, strict=True)], 1)
        torch.testing.assert_close(merged.weights.delta(site), b @ a)


def grown(seed: int, rows: int) -> LoRAWeights:
    """An adapter with the A of `a_seed=0`, grown by a number of rows."""
    initial, added = adapter(seed, a_seed=0), adapter(seed, rank=rows, a_seed=9)
    return LoRAWeights(
        a={site: torch.cat([a, added.a[site]]) for site, a in initial.a.items()},
        b={site: torch.cat([b, added.b[site]], dim=1) for site, b in initial.b.items()},
        scaling=initial.scaling,
    )


@pytest.mark.parametrize("longest_first", [False, True])
def test_grown_a_still_counts_as_shared(longest_first: bool) -> None:
    adapters = [adapter(1, a_seed=0), grown(2, rows=2)]
    adapters = adapters[::-1] if longest_first else adapters
    merged = merge(adapters, "cat", [0.4, 1.5])
    assert {a.shape[0] for a in merged.weights.a.values()} == {5}
    for site in SHAPES:
        torch.testing.assert_close(merged.weights.delta(site), summed(adapters, [0.4, 1.5], site))
    for method in ("ties", "magnitude"):
        of_b = merge(adapters, method, settings=MergeSettings(density=1.0))
        assert {a.shape[0] for a in of_b.weights.a.values()} == {5}
    linear = merge(adapters, "linear-of-factors")
    for site in SHAPES:
        torch.testing.assert_close(linear.weights.delta(site), 2 * summed(adapters, [1.0, 1.0], site))


@pytest.mark.parametrize("method", ["magnitude", "ties", "dare"])
def test_difference_of_two_states_with_a_shared_a_is_pruned_as_one_update(method: str) -> None:
    before, after = adapter(1, a_seed=0), adapter(2, a_seed=0)
    added = after.minus(before)
    for site in SHAPES:
        assert torch.equal(added.b[site], after.b[site] - before.b[site])
        assert torch.equal(added.a[site], after.a[site])
        torch.testing.assert_close(added.delta(site), after.delta(site) - before.delta(site))
    merged = merge([added], method, settings=MergeSettings(density=0.5))
    nonzero = [int((b != 0).sum()) for b in merged.weights.b.values()]
    if method != "dare":  # dare drops cells at random
        assert nonzero == [int(0.5 * b.numel()) for b in added.b.values()]
    separate = adapter(3).minus(before)
    assert {a.shape[0] for a in separate.a.values()} == {6}


def test_site_of_a_single_adapter_keeps_its_update() -> None:
    small = adapter(2, rank=5)
    small = LoRAWeights({"first": small.a["first"]}, {"first": small.b["first"]}, small.scaling)
    merged = merge([adapter(1), small], "cat").weights
    assert {a.shape[0] for a in merged.a.values()} == {3 + 5}
    torch.testing.assert_close(merged.delta("second"), adapter(1).delta("second"))
    torch.testing.assert_close(merged.delta("first"), adapter(1).delta("first") + small.delta("first"))


def test_average_divides_the_weights_by_their_sum() -> None:
    merged = merge(DIFFERENT_AS, "average", [1, 2, 5])
    for site in SHAPES:
        torch.testing.assert_close(
            merged.weights.delta(site), summed(DIFFERENT_AS, [1 / 8, 2 / 8, 5 / 8], site)
        )


def peft_model_with_two_adapters(shared: bool) -> Any:
    """A tiny model with the trained adapters '0' and '1'."""
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(llama(), config, adapter_name="0")
    model.add_adapter("1", config)
    generator = torch.Generator().manual_seed(0)
    for layer in lora_layers(model, "0").values():
        for name in ("0", "1"):
            b = layer.lora_B[name].weight.data
            b.copy_(torch.randn(b.shape, generator=generator))
        if shared:
            layer.lora_A["1"].weight.data.copy_(layer.lora_A["0"].weight)
    return model


@pytest.mark.parametrize("shared", [True, False])
def test_linear_of_factors_is_bitwise_equal_to_linear_in_peft(shared: bool) -> None:
    model = peft_model_with_two_adapters(shared)
    model.add_weighted_adapter(["0", "1"], [0.7, -0.4], "theirs", combination_type="linear")
    ours = merge([read_weights(model, "0"), read_weights(model, "1")], "linear-of-factors", [0.7, -0.4])
    theirs = read_weights(model, "theirs")
    assert ours.weights.scaling == theirs.scaling
    for site in theirs.a:
        assert torch.equal(ours.weights.a[site], theirs.a[site])
        assert torch.equal(ours.weights.b[site], theirs.b[site])


def test_linear_of_factors_overscales_n_fold_with_a_shared_a_and_is_no_sum_otherwise() -> None:
    same = merge(SHARED_AS, "linear-of-factors").weights
    different = merge([adapter(1), adapter(2)], "linear-of-factors").weights
    for site in SHAPES:
        torch.testing.assert_close(same.delta(site), 3 * summed(SHARED_AS, [1, 1, 1], site))
        expected = summed([adapter(1), adapter(2)], [1, 1], site)
        assert (different.delta(site) - expected).norm() > 0.5 * expected.norm()


def seed_of(method: str) -> int | None:
    return 7 if "dare" in method else None


@pytest.mark.parametrize("method", PRUNING)
def test_pruning_methods_match_peft_on_dense_b_with_a_shared_a(method: str) -> None:
    merged = merge(
        SHARED_AS, method, [0.4, 0.3, 0.2], MergeSettings(density=0.5, seed=seed_of(method))
    ).weights
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for site in SHAPES:
            bs = [2.0 * each.b[site] for each in SHARED_AS]
            theirs = getattr(merge_utils, PRUNING[method])(bs, torch.tensor([0.4, 0.3, 0.2]), 0.5)
            assert torch.equal(merged.b[site], theirs)
            assert torch.equal(merged.a[site], SHARED_AS[0].a[site])


@pytest.mark.parametrize("method", PRUNING)
def test_pruning_methods_match_peft_on_the_updates(method: str) -> None:
    settings = MergeSettings(on="delta", density=0.5, seed=seed_of(method))
    merged = merge(DIFFERENT_AS, method, [0.4, 0.3, 0.2], settings)
    assert merged.truncation_error == pytest.approx(0, abs=1e-5)  # 3 + 5 + 3 is the full rank here
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for site in SHAPES:
            deltas = [each.delta(site) for each in DIFFERENT_AS]
            theirs = getattr(merge_utils, PRUNING[method])(deltas, torch.tensor([0.4, 0.3, 0.2]), 0.5)
            torch.testing.assert_close(merged.weights.delta(site), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["magnitude", "dare"])
def test_with_different_projections_each_b_is_pruned_separately(method: str) -> None:
    settings = MergeSettings(density=0.5)
    merged = merge(DIFFERENT_AS, method, [0.4, 0.3, 0.2], settings).weights
    assert merged.a["first"].shape[0] == 3 + 5 + 3
    pruned = merged.b["first"]
    assert torch.equal(merged.a["first"], torch.cat([each.a["first"] for each in DIFFERENT_AS]))
    rescaled = 2.0 if method == "dare" else 1.0
    full = torch.cat(
        [w * e.scaling * rescaled * e.b["first"] for w, e in zip([0.4, 0.3, 0.2], DIFFERENT_AS, strict=True)],
        1,
    )
    assert 0 < int((pruned != 0).sum()) < pruned.numel()
    torch.testing.assert_close(pruned, full * (pruned != 0))


@pytest.mark.parametrize("method", ["ties", "dare-ties"])
def test_signs_are_not_elected_across_different_projections(method: str) -> None:
    mixed = [
        adapter(1),
        LoRAWeights({**adapter(1).a, "second": adapter(2).a["second"]}, adapter(2).b, scaling=2.0),
    ]
    with pytest.raises(InputError, match=r"different A at 1 of 2 sites.*add --on delta"):
        merge(mixed, method, settings=MergeSettings(density=0.5))


def test_ties_merge_of_disjoint_masks_is_their_weighted_sum() -> None:
    disjoint = [sparse(each, checkerboard(parity)) for parity, each in enumerate(SHARED_AS[:2])]
    merged = merge(disjoint, "ties", [0.4, 0.3], MergeSettings(density=1.0)).weights
    for site in SHAPES:
        torch.testing.assert_close(merged.delta(site), summed(disjoint, [0.4, 0.3], site))


def test_density_is_a_share_of_the_nonzero_cells() -> None:
    half = sparse(SHARED_AS[0], checkerboard(0))
    pruned = merge([half], "magnitude", settings=MergeSettings(density=0.5)).weights
    for site in SHAPES:
        cells = half.b[site] != 0
        assert int((pruned.b[site] != 0).sum()) == int(cells.sum()) // 2
        smallest = pruned.b[site][pruned.b[site] != 0].abs().min()
        assert int((2.0 * half.b[site].abs() >= smallest).sum()) == int(cells.sum()) // 2


def test_density_1_prunes_nothing() -> None:
    tensor = adapter(1).b["first"]
    assert torch.equal(pruned(tensor, 1, "magnitude"), tensor)
    assert torch.equal(pruned(tensor, 1, "random"), tensor)


def test_dare_is_reproducible_and_leaves_the_global_generators_unchanged() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (
        merge(SHARED_AS, "dare", settings=MergeSettings(density=0.5, seed=seed)).weights for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one.b[site], same.b[site]) for site in SHAPES)
    assert not all(torch.equal(one.b[site], other.b[site]) for site in SHAPES)


def test_truncated_update_is_the_best_of_its_rank_and_reports_its_error() -> None:
    settings = MergeSettings(on="delta", density=1.0, rank=2)
    merged = merge(DIFFERENT_AS, "magnitude", settings=settings)
    error, total = 0.0, 0.0
    for site in SHAPES:
        expected = summed(DIFFERENT_AS, [1, 1, 1], site)
        assert merged.weights.a[site].shape[0] == 2
        values = torch.linalg.svdvals(expected)
        left = (expected - merged.weights.delta(site)).square().sum()
        torch.testing.assert_close(left, values[2:].square().sum(), rtol=1e-3, atol=1e-4)
        error, total = error + float(left), total + float(expected.square().sum())
    assert merged.truncation_error == pytest.approx((error / total) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("method", "weights", "settings", "message"),
    [
        ("cats", None, MergeSettings(), "linear-of-factors). Did you mean 'cat'?"),
        ("cat", [1.0], MergeSettings(), "3 adapters, but 1 weights"),
        ("cat", [1.0, 2.0, float("nan")], MergeSettings(), "1.0, 2.0, nan"),
        ("average", [1.0, -2.0, 1.0], MergeSettings(), "it is 0; use --method sum"),
        ("cat", None, MergeSettings(density=0.5), "'cat' does not prune, so it accepts no --density"),
        ("sum", None, MergeSettings(on="delta", rank=2), "accepts no --on delta or --rank"),
        ("ties", None, MergeSettings(), "--density must be above 0 and at most 1, but it is not given"),
        ("dare", None, MergeSettings(density=1.5), "it is 1.5"),
        ("magnitude", None, MergeSettings(density=0.5, rank=2), "add --on delta"),
        ("magnitude", None, MergeSettings(on="delta", density=0.5, rank=0), "it is 0"),
        ("cat", None, MergeSettings(on="b", seed=0), "accepts no --on b or --seed"),
        (
            "ties",
            None,
            MergeSettings(density=0.5, seed=3),
            "drops no entries at random, so it accepts no --seed",
        ),
        ("linear-of-factors", None, MergeSettings(), "have 3, 5, 3; use --method cat"),
    ],
)
def test_meaningless_merge_settings_are_refused(
    method: str, weights: Sequence[float] | None, settings: MergeSettings, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        merge(DIFFERENT_AS, method, weights, settings)
    assert message in str(refused.value)


def test_every_merge_method_is_tested_in_this_file() -> None:
    tested = {"cat", "sum", "average", "linear-of-factors", *PRUNING}
    assert set(MERGES.built_in) == tested
