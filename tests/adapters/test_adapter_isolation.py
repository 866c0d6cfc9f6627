from __future__ import annotations

import pytest
import torch

from lori_cl.adapters import Cells

from . import checks
from .tiny import (
    adapted,
    freeze,
    llama,
    logits,
    loss,
    sgd,
    train,
    trainable,
    trained_cells,
    two_masks,
    write_open_values,
)


def test_earlier_cells_are_bit_identical_after_50_adamw_steps_with_decay() -> None:
    checks.check_earlier_cells_are_bit_identical(steps=50)


def test_earlier_cells_are_bit_identical_after_sgd_with_momentum_and_decay() -> None:
    checks.check_earlier_cells_are_bit_identical(steps=20, make=sgd)


def test_earlier_cells_are_bit_identical_under_accumulated_and_clipped_gradients() -> None:
    checks.check_earlier_cells_are_bit_identical(steps=10, accumulate=2, clip=0.1)


def test_as_trained_logits_of_a_stage_do_not_change_after_a_later_stage() -> None:
    checks.check_as_trained_logits_do_not_change(steps=20)


def test_stepping_the_optimizer_of_a_frozen_stage_changes_nothing() -> None:
    model, adapter = adapted()
    first, second = two_masks(adapter)
    adapter.open(first)
    optimizer = train(model, 5)
    stale = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    freeze(adapter, [trained_cells(adapter, first)])
    adapter.open(second)
    before = adapter.acting_digest()
    for parameter in stale:
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    assert adapter.acting_digest() == before


def test_only_open_values_are_trainable() -> None:
    model, adapter = adapted()
    first, _ = two_masks(adapter)
    adapter.open(first)
    checks.check_only_open_values_are_trainable(model, first)


def test_site_without_open_cells_has_no_parameter() -> None:
    model, adapter = adapted()
    first, _ = two_masks(adapter)
    emptied, left_out, *_ = first
    masks = {site: mask for site, mask in first.items() if site != left_out}
    masks[emptied] = torch.zeros_like(masks[emptied])
    adapter.open(masks)
    checks.check_only_open_values_are_trainable(model, masks)
    assert all(parameter.numel() for parameter in model.parameters())
    assert set(adapter.opened()) == set(masks) - {emptied}


def test_nothing_is_trainable_before_opening_and_after_freezing_cells() -> None:
    model, adapter = adapted()
    assert trainable(model) == []
    first, _ = two_masks(adapter)
    adapter.open(first)
    freeze(adapter, [trained_cells(adapter, first)])
    assert trainable(model) == []


def test_a_is_not_a_parameter() -> None:
    model, _ = adapted()
    assert not [name for name, _ in model.named_parameters() if "lora_A" in name]
    assert len([name for name, _ in model.named_buffers() if "lora_A" in name]) == 14


def test_a_stays_frozen_when_peft_enables_gradients() -> None:
    checks.check_a_stays_frozen_when_peft_enables_gradients()


def test_base_weights_are_not_trained() -> None:
    model, adapter = adapted()
    before = {name: weight.clone() for name, weight in llama().state_dict().items()}
    adapter.open(two_masks(adapter)[0])
    train(model, 5)
    after = model.unload().state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_opened_cells_start_at_0_and_change_no_output() -> None:
    model, adapter = adapted()
    first, second = two_masks(adapter)
    freeze(adapter, [Cells(first, {site: torch.ones(int(mask.sum())) for site, mask in first.items()})])
    before = logits(model)
    adapter.open(second)
    assert torch.equal(logits(model), before)


def test_model_without_frozen_stages_equals_its_base() -> None:
    model, adapter = adapted()
    adapter.open(two_masks(adapter)[0])
    write_open_values(model)
    assert not torch.equal(logits(model), logits(llama()))
    freeze(adapter, [])
    assert torch.equal(logits(model), logits(llama()))


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_exactly_the_cells_of_frozen_stages_are_active(stages: int) -> None:
    checks.check_dense_holds_exactly_the_frozen_cells(stages)


def test_view_of_one_stage_holds_no_cells_of_an_earlier_frozen_stage() -> None:
    _, adapter = adapted()
    first, second = (
        Cells(masks, {site: torch.ones(int(mask.sum())) for site, mask in masks.items()})
        for masks in two_masks(adapter)
    )
    freeze(adapter, [first])
    as_trained = adapter.acting_digest()
    freeze(adapter, [first, second])
    assert adapter.acting_digest() != as_trained
    freeze(adapter, [first])
    assert adapter.acting_digest() == as_trained


def test_stage_may_omit_sites() -> None:
    _, adapter = adapted()
    site, mask = next(iter(two_masks(adapter)[0].items()))
    freeze(adapter, [Cells({site: mask}, {site: torch.ones(int(mask.sum()))})])
    assert {name for name, b in adapter.dense().items() if b.any()} == {site}


@pytest.mark.parametrize("frozen", [False, True])
def test_opened_and_dense_return_copies(frozen: bool) -> None:
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    adapter.open(masks)
    write_open_values(model)
    if frozen:
        freeze(adapter, [trained_cells(adapter, masks)])
    before = adapter.acting_digest()
    for tensors in (adapter.opened(), adapter.dense()):
        for tensor in tensors.values():
            tensor.fill_(9.0)
    assert adapter.acting_digest() == before


def test_freezing_copies_the_given_cells() -> None:
    _, adapter = adapted()
    masks, _ = two_masks(adapter)
    values = {site: torch.ones(int(mask.sum())) for site, mask in masks.items()}
    freeze(adapter, [Cells(masks, values)])
    before = adapter.acting_digest()
    for tensor in values.values():
        tensor.zero_()
    assert adapter.acting_digest() == before


def test_training_lowers_the_loss() -> None:
    model, adapter = adapted()
    adapter.open({site.name: torch.ones(site.out_features, site.rank).bool() for site in adapter.sites})
    before = loss(model).item()
    model.train()
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable(model)], lr=1e-2)
    for _ in range(20):
        loss(model).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss(model).item() < before - 0.1
