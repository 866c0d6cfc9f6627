"""The adapter's promises as functions: the tests call them, and planted faults must make them fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from lori_cl.adapters import Cells, SparseAdapter
from lori_cl.adapters.modules import SparseB

from .tiny import (
    SPEC,
    Masks,
    Optimizer,
    adamw,
    adapted,
    batch,
    closed,
    freeze,
    logits,
    lora_layers,
    loss,
    train,
    trainable,
    two_masks,
    write_open_values,
)


def sparse_b_and_dense_twin() -> tuple[SparseB, nn.Linear, Tensor]:
    """A SparseB with earlier cells and open ones, the dense Linear of the same weights, and the open mask."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(3, (11, 5), generator=generator)
    sparse = SparseB(11, 5, torch.device("cpu"))
    sparse.frozen[owner == 0] = torch.randn(int((owner == 0).sum()), generator=generator)
    sparse.open(owner == 1)
    assert sparse.values is not None
    with torch.no_grad():
        sparse.values.copy_(torch.randn(sparse.values.shape, generator=generator))
    dense = nn.Linear(5, 11, bias=False)
    dense.weight = nn.Parameter(sparse.weight.detach().clone())
    return sparse, dense, owner == 1


def inputs_and_gradient(*leading: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*leading, 5, generator=generator), torch.randn(*leading, 11, generator=generator)


def check_compact_gradient_is_the_masked_dense_one(*leading: int) -> None:
    """Bitwise: what an open cell gets is what the dense B's cell would get."""
    sparse, dense, mask = sparse_b_and_dense_twin()
    h, g = inputs_and_gradient(*leading)
    sparse(h).backward(g)
    dense(h).backward(g)
    assert sparse.values is not None
    assert sparse.values.grad is not None
    assert dense.weight.grad is not None
    assert torch.equal(sparse.values.grad, dense.weight.grad[mask])


def check_gradient_to_the_input_is_the_dense_one(*leading: int) -> None:
    """What flows back through B is g B."""
    sparse, dense, _ = sparse_b_and_dense_twin()
    h, g = inputs_and_gradient(*leading)
    through_sparse, through_dense = h.clone().requires_grad_(), h.clone().requires_grad_()
    sparse(through_sparse).backward(g)
    dense(through_dense).backward(g)
    torch.testing.assert_close(through_sparse.grad, through_dense.grad)
    torch.testing.assert_close(through_sparse.grad, g @ dense.weight)


def plain_lora(base: nn.Module, attached: Any) -> Any:
    """PEFT's own LoRA on another copy of the base, with the attached adapter's A and B written in."""
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=SPEC.alpha,
        target_modules="all-linear",
        fan_in_fan_out="GPT2" in type(base).__name__,
    )
    plain = get_peft_model(base, config)
    with torch.no_grad():
        for ours, theirs in zip(lora_layers(attached), lora_layers(plain), strict=True):
            theirs.lora_A["default"].weight.copy_(ours.lora_A["default"].weight)
            theirs.lora_B["default"].weight.copy_(ours.lora_B["default"].weight)
    return plain


def two_stage_model(base: nn.Module) -> tuple[Any, SparseAdapter, Masks]:
    """A model with one frozen stage and a second one open, none of whose values is 0, and the open mask."""
    model, adapter = adapted(base)
    first, second = two_masks(adapter)
    adapter.open(first)
    write_open_values(model, seed=1)
    freeze(adapter, [closed(adapter, first)])
    adapter.open(second)
    write_open_values(model, seed=2)
    return model, adapter, second


def check_outputs_are_those_of_plain_peft(make: Callable[[], nn.Module]) -> None:
    """Bitwise: the attached adapter computes what PEFT's LoRA computes with the same A and B."""
    model, *_ = two_stage_model(make())
    plain = plain_lora(make(), model)
    assert torch.equal(logits(model), logits(plain))
    assert not torch.equal(logits(model), logits(make()))


def check_upstream_gradients_are_those_of_plain_peft(make: Callable[[], nn.Module]) -> None:
    """Every open cell, in every layer, gets the gradient of plain PEFT's cell, and so do the embeddings."""
    model, _, second = two_stage_model(make())
    plain = plain_lora(make(), model)
    embedded = []
    for each in (model, plain):
        each.eval()
        each.enable_input_require_grads()
        hook = each.get_input_embeddings().register_forward_hook(lambda *args: embedded.append(args[-1]))
        ids = batch()
        out = each(input_ids=ids, labels=ids)
        embedded[-1].retain_grad()
        out.loss.backward()
        hook.remove()
    torch.testing.assert_close(embedded[0].grad, embedded[1].grad)
    for mask, ours, theirs in zip(second.values(), lora_layers(model), lora_layers(plain), strict=True):
        dense_gradient = theirs.lora_B["default"].weight.grad
        torch.testing.assert_close(ours.lora_B["default"].values.grad, dense_gradient[mask])


def check_earlier_cells_are_bit_identical(
    steps: int, make: Optimizer = adamw, accumulate: int = 1, clip: float | None = None
) -> None:
    """After a second stage the first one's cells are untouched, and the free cells still hold 0."""
    model, adapter = adapted()
    first, second = two_masks(adapter)
    adapter.open(first)
    train(model, 5, make, accumulate, clip)
    stage1 = closed(adapter, first)
    assert all(bool(values.all()) for values in stage1.values.values()), "a cell of stage 1 never moved"

    freeze(adapter, [stage1])
    adapter.open(second)
    train(model, steps, make, accumulate, clip)
    assert any(bool(values.any()) for values in adapter.opened().values()), "stage 2 never moved"
    for site, acting in adapter.dense().items():
        assert torch.equal(acting[first[site]], stage1.values[site]), site
        assert not acting[~first[site] & ~second[site]].any(), site


def check_as_trained_logits_do_not_change(steps: int) -> None:
    """Stage 1 alone gives the same logits before and after stage 2 was trained, to the bit."""
    model, adapter = adapted()
    first, second = two_masks(adapter)
    adapter.open(first)
    train(model, 5)
    stage1 = closed(adapter, first)
    freeze(adapter, [stage1])
    before = logits(model)

    adapter.open(second)
    train(model, steps)
    assert not torch.equal(logits(model), before), "stage 2 does not act"
    freeze(adapter, [stage1])
    assert torch.equal(logits(model), before)


def check_only_open_values_train(model: Any, masks: Masks) -> None:
    """The trainable parameters are one vector per site with open cells, as long as its mask is large."""
    wanted = {
        f"base_model.model.{site}.lora_B.default.values": (int(mask.sum()),)
        for site, mask in masks.items()
        if mask.any()
    }
    found = {name: tuple(parameter.shape) for name, parameter in trainable(model)}
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    assert not wrong, [(name, found.get(name), wanted.get(name)) for name in wrong]


def check_a_stays_frozen_when_peft_switches_gradients_on() -> None:
    """Neither set_adapter() nor leaving disable_adapter() makes A trainable, and no optimizer moves it."""
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    adapter.open(masks)
    digest = adapter.projection_digest()
    check_only_open_values_train(model, masks)
    model.set_adapter("default")
    check_only_open_values_train(model, masks)
    with model.disable_adapter():
        loss(model)
    check_only_open_values_train(model, masks)
    train(model, 2)
    assert adapter.projection_digest() == digest


def check_what_is_frozen_is_what_acts(stages: int) -> None:
    """dense() of frozen stages is exactly their cells, written into zeros."""
    _, adapter = adapted()
    kept = [
        Cells(masks, {site: torch.randn(int(mask.sum())) for site, mask in masks.items()})
        for masks in two_masks(adapter)[:stages]
    ]
    freeze(adapter, kept)
    for site, acting in adapter.dense().items():
        wanted = torch.zeros_like(acting)
        for cells in kept:
            wanted[cells.masks[site]] = cells.values[site]
        assert torch.equal(acting, wanted), site
