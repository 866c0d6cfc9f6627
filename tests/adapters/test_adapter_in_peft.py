from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from lori_cl.adapters import attach, lora_model
from lori_cl.adapters.modules import SparseB
from lori_cl.spec import AdapterSpec

from . import checks
from .tiny import (
    MODELS,
    SPEC,
    adapted,
    freeze,
    llama,
    logits,
    lora_layers,
    trainable,
    trained_cells,
    two_masks,
    write_open_values,
)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_bitwise_equal_to_plain_peft_with_the_same_a_and_b(name: str) -> None:
    checks.check_outputs_match_plain_peft(MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_detaching_changes_no_logit(name: str) -> None:
    model, adapter, _ = checks.two_stage_model(MODELS[name]())
    attached = logits(model)
    adapter.detach()
    assert torch.equal(logits(model), attached)
    assert not [module for module in model.modules() if isinstance(module, SparseB)]


def test_detaching_changes_no_logit_of_a_bf16_base() -> None:
    model, adapter, _ = checks.two_stage_model(llama().to(torch.bfloat16))
    attached = logits(model)
    adapter.detach()
    assert torch.equal(logits(model), attached)


def test_detached_model_has_plain_linears_with_the_active_weights() -> None:
    model, adapter = adapted()
    adapter.open(two_masks(adapter)[0])
    write_open_values(model)
    acting = adapter.dense()
    adapter.detach()
    for layer, b in zip(lora_layers(model), acting.values(), strict=True):
        assert type(layer.lora_A["default"]) is type(layer.lora_B["default"]) is nn.Linear
        assert torch.equal(layer.lora_B["default"].weight, b)


def test_detached_model_is_a_checkpoint_that_peft_loads_with_the_same_logits(tmp_path: Path) -> None:
    model, adapter, _ = checks.two_stage_model(llama())
    before = logits(model)
    adapter.detach()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(llama(), tmp_path)
    assert torch.equal(logits(loaded), before)


def test_merging_into_the_base_gives_the_same_outputs() -> None:
    model, *_ = checks.two_stage_model(llama())
    before = logits(model)
    torch.testing.assert_close(logits(model.merge_and_unload()), before, rtol=1e-4, atol=1e-5)


def test_merging_and_unmerging_leaves_the_adapter_unchanged() -> None:
    model, adapter = adapted()
    adapter.open(two_masks(adapter)[0])
    write_open_values(model)
    before = adapter.acting_digest()
    model.merge_adapter()
    model.unmerge_adapter()
    assert adapter.acting_digest() == before


def test_disabled_adapter_gives_the_outputs_of_the_base() -> None:
    model, *_ = checks.two_stage_model(llama())
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(llama()))
    assert not torch.equal(logits(model), logits(llama()))


def test_attaching_again_draws_the_same_a_and_restores_a_stage() -> None:
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    adapter.open(masks)
    write_open_values(model)
    stage, before = trained_cells(adapter, masks), logits(model)

    torch.manual_seed(12345)
    reattached = lora_model(llama(), SPEC)
    adapter = attach(reattached, 0, "uniform")
    freeze(adapter, [stage])
    assert torch.equal(logits(reattached), before)


def test_scale_is_alpha_divided_by_rank() -> None:
    single, double = (adapted(spec=AdapterSpec(rank=4, alpha=alpha)) for alpha in (8, 16))
    assert {layer.scaling["default"] for layer in lora_layers(single[0])} == {2.0}
    assert {layer.scaling["default"] for layer in lora_layers(double[0])} == {4.0}


def test_open_and_frozen_cells_of_equal_content_have_equal_digests() -> None:
    opened, adapter = adapted()
    masks, _ = two_masks(adapter)
    adapter.open(masks)
    write_open_values(opened)
    _, frozen = adapted()
    freeze(frozen, [trained_cells(adapter, masks)])
    assert frozen.acting_digest() == adapter.acting_digest() != adapted()[1].acting_digest()


def test_changing_the_last_bit_of_one_value_changes_the_digest() -> None:
    model, adapter = adapted()
    adapter.open(two_masks(adapter)[0])
    write_open_values(model)
    before = adapter.acting_digest()
    _, values = trainable(model)[-1]
    with torch.no_grad():
        values[-1] = torch.nextafter(values[-1], torch.tensor(9.0))
    assert adapter.acting_digest() != before


@pytest.mark.parametrize(
    ("spec", "seed"),
    [
        (SPEC, 1),
        (AdapterSpec(rank=4, alpha=9), 0),
        (AdapterSpec(rank=4, alpha=8, distribution="normal"), 0),
        (AdapterSpec(rank=4, alpha=8, targets=("q_proj",)), 0),
    ],
    ids=["seed", "alpha", "distribution", "targets"],
)
def test_different_spec_or_seed_gives_a_different_digest(spec: AdapterSpec, seed: int) -> None:
    assert adapted(spec=spec, seed=seed)[1].acting_digest() != adapted()[1].acting_digest()


def test_changing_one_entry_of_a_changes_the_projection_digest() -> None:
    model, adapter = adapted()
    before = adapter.projection_digest()
    lora_layers(model)[-1].lora_A["default"].weight[0, 0] += 1e-3
    assert adapter.projection_digest() != before
