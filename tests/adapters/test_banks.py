"""Several projections A in one adapter, and cells continued from, or opened over, frozen cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from lori_cl.adapters import (
    Bank,
    Cells,
    Projections,
    SparseAdapter,
    draw_projections,
    projections_digest,
    read_weights,
)
from lori_cl.adapters.modules import SparseB

from .tiny import MODELS, SPEC, Masks, adapted, llama, logits, train, trainable, two_masks, write_open_values

SCALE = SPEC.alpha / SPEC.rank


def opened_over_frozen(*, keep_values: bool) -> tuple[SparseB, Tensor]:
    """A SparseB of random values whose open cells overlap some frozen cells and some zeros."""
    generator = torch.Generator().manual_seed(0)
    sparse = SparseB(11, 5, torch.device("cpu"))
    frozen = torch.randn(11, 5, generator=generator)
    sparse.frozen = frozen * (torch.rand(11, 5, generator=generator) < 0.7)
    mask = torch.rand(11, 5, generator=generator) < 0.5
    assert bool((sparse.frozen[mask] != 0).any())
    assert bool((sparse.frozen[mask] == 0).any())
    sparse.open(mask, keep_values=keep_values)
    return sparse, mask


@pytest.mark.parametrize("keep_values", [True, False])
@pytest.mark.parametrize("leading", [(6,), (2, 3), (2, 2, 3)])
def test_compact_gradient_over_frozen_values_is_bitwise_the_masked_dense_one(
    leading: tuple[int, ...], keep_values: bool
) -> None:
    sparse, mask = opened_over_frozen(keep_values=keep_values)
    assert sparse.values is not None
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        sparse.values += torch.randn(sparse.values.shape, generator=generator)
    dense = nn.Linear(5, 11, bias=False)
    dense.weight = nn.Parameter(sparse.weight.detach().clone())
    h, g = (torch.randn(*leading, width, generator=generator) for width in (5, 11))
    through_sparse, through_dense = h.clone().requires_grad_(), h.clone().requires_grad_()
    assert torch.equal(sparse(through_sparse), dense(through_dense))
    sparse(through_sparse).backward(g)
    dense(through_dense).backward(g)
    assert sparse.values.grad is not None
    assert dense.weight.grad is not None
    assert torch.equal(sparse.values.grad, dense.weight.grad[mask])
    assert torch.equal(through_sparse.grad, through_dense.grad)


def test_continued_cells_start_at_their_values_and_the_others_at_zero() -> None:
    continued, mask = opened_over_frozen(keep_values=True)
    fresh, _ = opened_over_frozen(keep_values=False)
    assert continued.values is not None is not fresh.values
    assert torch.equal(continued.values, continued.frozen[mask])
    assert not fresh.values.any()
    assert torch.equal(continued.weight, continued.frozen)
    assert torch.equal(fresh.weight, fresh.frozen)


@pytest.mark.parametrize("keep_values", [True, False])
def test_training_open_cells_does_not_change_the_frozen_cells_below(keep_values: bool) -> None:
    sparse, mask = opened_over_frozen(keep_values=keep_values)
    before = sparse.frozen.clone()
    optimizer = torch.optim.AdamW(sparse.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        sparse(torch.ones(4, 5)).square().sum().backward()
        optimizer.step()
    assert torch.equal(sparse.frozen, before)
    assert torch.equal(sparse.weight[~mask], before[~mask])
    assert bool((sparse.weight[mask] != before[mask]).all())
    sparse.close()
    assert torch.equal(sparse.weight, before)


def test_weight_decay_pulls_cells_towards_the_frozen_values_below_them() -> None:
    sparse, mask = opened_over_frozen(keep_values=False)
    assert sparse.values is not None
    with torch.no_grad():
        sparse.values += 1.0
    optimizer = torch.optim.SGD(sparse.parameters(), lr=1.0, weight_decay=1.0)
    (sparse(torch.zeros(1, 5)).sum()).backward()
    optimizer.step()
    assert torch.equal(sparse.weight[mask], sparse.frozen[mask])


def projections(adapter: SparseAdapter, seed: int, grown_rows: int = 0) -> Projections:
    return draw_projections(adapter.sites, seed, "uniform", grown_rows)


def random_cells(masks: Masks, seed: int) -> Cells:
    generator = torch.Generator().manual_seed(seed)
    return Cells(masks, {s: torch.randn(int(m.sum()), generator=generator) for s, m in masks.items()})


def dense_b(cells: Cells, site: str, columns: int | None = None) -> Tensor:
    mask = cells.masks[site]
    b = torch.zeros(mask.shape[0], columns or mask.shape[1])
    b[:, : mask.shape[1]][mask] = cells.values[site]
    return b


def three_banks(adapter: SparseAdapter) -> list[Bank]:
    """Three banks: the second has two stages, the third has two more rows."""
    one, two = two_masks(adapter)
    return [
        Bank(projections(adapter, 1), [random_cells(one, 1)]),
        Bank(projections(adapter, 2), [random_cells(one, 2), random_cells(two, 3)]),
        Bank(projections(adapter, 3, grown_rows=2), [random_cells(two, 4)]),
    ]


def expected_delta(banks: Sequence[Bank], site: str) -> Tensor:
    total = torch.zeros(())
    for bank in banks:
        a = bank.projections[site]
        for stage in bank.stages:
            total = total + SCALE * (dense_b(stage, site, a.shape[0]) @ a)
    return total


@pytest.mark.parametrize("name", MODELS)
def test_several_banks_give_the_sum_of_their_products(name: str) -> None:
    model, adapter = adapted(MODELS[name]())
    banks = three_banks(adapter)
    adapter.install(banks)
    weights = read_weights(model)
    assert weights.scaling == SCALE
    for site in adapter.sites:
        torch.testing.assert_close(weights.delta(site.name), expected_delta(banks, site.name))


def test_model_outputs_match_the_sum_of_the_banks() -> None:
    model, adapter = adapted()
    banks = three_banks(adapter)
    adapter.install(banks)
    plain = llama()
    with torch.no_grad():
        for site in adapter.sites:
            plain.get_submodule(site.name).weight += expected_delta(banks, site.name)
    torch.testing.assert_close(logits(model), logits(plain), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(model), logits(llama()), atol=1e-2)


def test_switching_banks_back_and_forth_is_bit_identical() -> None:
    model, adapter = adapted()
    banks = three_banks(adapter)
    states: list[Sequence[Bank]] = [banks, banks[:1], banks[1:], banks[:2], []]
    first = []
    for state in states:
        adapter.install(state)
        first.append((adapter.acting_digest(), logits(model)))
    assert len({digest for digest, _ in first}) == len(states)
    for state, (digest, before) in [*zip(states, first, strict=True)][::-1]:
        adapter.install(state)
        assert adapter.acting_digest() == digest
        assert torch.equal(logits(model), before)


def test_model_without_banks_equals_its_base() -> None:
    model, adapter = adapted()
    adapter.install(three_banks(adapter))
    adapter.install([])
    assert torch.equal(logits(model), logits(llama()))
    adapter.open(two_masks(adapter)[0])
    assert set(adapter.opened()) == {site.name for site in adapter.sites}


def test_installing_a_bank_with_the_same_a_replaces_the_previous_cells() -> None:
    _, adapter = adapted()
    a, (one, two) = projections(adapter, 1), two_masks(adapter)
    adapter.install([Bank(a, [random_cells(one, 1)])])
    adapter.install([Bank(a, [random_cells(two, 2)])])
    for site, b in adapter.dense().items():
        assert torch.equal(b, dense_b(random_cells(two, 2), site))


@pytest.mark.parametrize("sums", [True, False])
def test_cell_shared_by_stages_holds_their_sum_or_the_last_value(sums: bool) -> None:
    _, adapter = adapted()
    masks, _ = two_masks(adapter)
    stages = [random_cells(masks, seed) for seed in (1, 2, 3)]
    adapter.install([Bank(projections(adapter, 1), stages, sums)])
    for site, b in adapter.dense().items():
        each = [dense_b(stage, site) for stage in stages]
        assert torch.equal(b, each[0] + each[1] + each[2] if sums else each[2])


def test_training_the_last_bank_leaves_the_earlier_ones_untouched() -> None:
    model, adapter = adapted()
    banks, (_, masks) = three_banks(adapter)[:2], two_masks(adapter)
    adapter.install([*banks, Bank(projections(adapter, 9))])
    before, a = adapter.dense(), adapter.projection_digest()
    adapter.open(masks)
    train(model, 10)
    assert all(bool(values.any()) for values in adapter.opened().values())
    assert adapter.projection_digest() == a
    for site, b in adapter.dense().items():
        assert torch.equal(b[:, :8], before[site][:, :8])
        assert torch.equal(b[:, 8:][masks[site]], adapter.opened()[site])
        assert not b[:, 8:][~masks[site]].any()


def test_opened_cells_give_the_same_logits_after_installation() -> None:
    model, adapter = adapted()
    banks, (_, masks) = three_banks(adapter)[:1], two_masks(adapter)
    a = projections(adapter, 9)
    adapter.install([*banks, Bank(a)])
    adapter.open(masks)
    train(model, 3)
    opened, digest = logits(model), adapter.acting_digest()
    adapter.install([*banks, Bank(a, [Cells(masks, adapter.opened())])])
    assert torch.equal(logits(model), opened)
    assert adapter.acting_digest() == digest
    assert not trainable(model)


@pytest.mark.parametrize("freeze", [True, False])
def test_cells_opened_over_their_own_bank_are_the_same_after_installation(freeze: bool) -> None:
    """`sums` if the cells were added to frozen values; the last value if they were continued."""
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    a, first = projections(adapter, 1), random_cells(masks, 1)
    adapter.install([Bank(a, [first])])
    adapter.open(masks, keep_values=not freeze)
    train(model, 3)
    opened = adapter.dense()
    adapter.install([Bank(a, [first, Cells(masks, adapter.opened())], sums=freeze)])
    for site, b in adapter.dense().items():
        assert torch.equal(b, opened[site])


def test_taken_gradients_are_removed_from_the_adapter() -> None:
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    adapter.open(masks)
    model(input_ids=torch.ones(1, 4, dtype=torch.int64)).logits.square().sum().backward()
    gradients = adapter.take_gradients()
    assert {site: g.numel() for site, g in gradients.items()} == {s: int(m.sum()) for s, m in masks.items()}
    assert any(bool(gradient.any()) for gradient in gradients.values())
    assert adapter.take_gradients() == {}


def test_stage_may_omit_sites() -> None:
    _, adapter = adapted()
    masks, _ = two_masks(adapter)
    only_site = adapter.sites[0].name
    cells = random_cells({only_site: masks[only_site]}, 1)
    adapter.install([Bank(projections(adapter, 1), [cells])])
    assert [site for site, b in adapter.dense().items() if b.any()] == [only_site]
    adapter.open({only_site: masks[only_site]})
    assert list(adapter.opened()) == [only_site]


@pytest.mark.parametrize("name", MODELS)
def test_detached_model_of_several_banks_is_a_checkpoint_that_peft_loads(name: str, tmp_path: Path) -> None:
    make: Callable[[], Any] = MODELS[name]
    model, adapter = adapted(make())
    adapter.install(three_banks(adapter))
    before = logits(model)
    adapter.detach()
    assert torch.equal(logits(model), before)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make(), tmp_path)
    assert loaded.peft_config["default"].r == 4 + 4 + 6
    torch.testing.assert_close(logits(loaded), before, rtol=1e-6, atol=1e-7)


def test_growing_an_adapter_leaves_its_first_rows_unchanged() -> None:
    _, adapter = adapted()
    plain, two, five = (projections(adapter, 1, grown_rows=rows) for rows in (0, 2, 5))
    for site in adapter.sites:
        assert five[site.name].shape == (site.rank + 5, site.in_features)
        assert torch.equal(five[site.name][: site.rank], plain[site.name])
        assert torch.equal(five[site.name][: site.rank + 2], two[site.name])
        assert five[site.name].unique(dim=0).shape[0] == site.rank + 5


def test_projections_drawn_for_the_sites_match_those_drawn_by_attach() -> None:
    _, adapter = adapted(seed=7)
    assert projections_digest(projections(adapter, 7)) == adapter.projection_digest()


def test_banks_on_a_bf16_base_keep_float32_values() -> None:
    model, adapter = adapted(llama().to(torch.bfloat16))
    banks, (masks, _) = three_banks(adapter), two_masks(adapter)
    adapter.install([*banks, Bank(projections(adapter, 9))])
    adapter.open(masks)
    train(model, 2)
    tensors: Mapping[str, Tensor] = {**adapter.dense(), **dict(adapter.opened())}
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert {layer.lora_A["default"].weight.dtype for layer in adapter.layers.values()} == {torch.float32}
    first = adapter.sites[0].name
    assert torch.equal(adapter.dense()[first][:, :4], dense_b(banks[0].stages[0], first))


def test_writing_values_into_open_cells_changes_no_installed_cell() -> None:
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    stage = random_cells(masks, 1)
    before = {site: values.clone() for site, values in stage.values.items()}
    adapter.install([Bank(projections(adapter, 1), [stage])])
    adapter.open(masks, keep_values=True)
    write_open_values(model)
    assert all(torch.equal(stage.values[site], before[site]) for site in before)
