"""The adapter's guarantees as check functions; planted faults must make them fail."""

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
    freeze,
    logits,
    lora_layers,
    loss,
    train,
    trainable,
    trained_cells,
    two_masks,
    write_open_values,
)


def sparse_b_and_dense_copy() -> tuple[SparseB, nn.Linear, Tensor]:
    """A SparseB with frozen and open cells, a dense Linear with the same weights, and the open mask."""
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


def check_compact_gradient_matches_masked_dense_gradient(*leading: int) -> None:
    """Check that open cells get bitwise the gradients of the dense B."""
    sparse, dense, mask = sparse_b_and_dense_copy()
    h, g = inputs_and_gradient(*leading)
    sparse(h).backward(g)
    dense(h).backward(g)
    assert sparse.values is not None
    assert sparse.values.grad is not None
    assert dense.weight.grad is not None
    assert torch.equal(sparse.values.grad, dense.weight.grad[mask])


def check_input_gradient_matches_dense_layer(*leading: int) -> None:
    """Check that the input gradient of B is g B."""
    sparse, dense, _ = sparse_b_and_dense_copy()
    h, g = inputs_and_gradient(*leading)
    through_sparse, through_dense = h.clone().requires_grad_(), h.clone().requires_grad_()
    sparse(through_sparse).backward(g)
    dense(through_dense).backward(g)
    torch.testing.assert_close(through_sparse.grad, through_dense.grad)
    torch.testing.assert_close(through_sparse.grad, g @ dense.weight)


def plain_lora(base: nn.Module, attached: Any) -> Any:
    """PEFT's own LoRA on another copy of the base, with the A and B of the attached adapter."""
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
    """A model with a frozen stage and a second open stage with nonzero values, and the open mask."""
    model, adapter = adapted(base)
    first, second = two_masks(adapter)
    adapter.open(first)
    write_open_values(model, seed=1)
    freeze(adapter, [trained_cells(adapter, first)])
    adapter.open(second)
    write_open_values(model, seed=2)
    return model, adapter, second


def check_outputs_match_plain_peft(make: Callable[[], nn.Module]) -> None:
    """Check that the outputs are bitwise those of PEFT's LoRA with the same A and B."""
    model, *_ = two_stage_model(make())
    plain = plain_lora(make(), model)
    assert torch.equal(logits(model), logits(plain))
    assert not torch.equal(logits(model), logits(make()))


def check_upstream_gradients_match_plain_peft(make: Callable[[], nn.Module]) -> None:
    """Check that all open cells and the embeddings get the gradients of plain PEFT."""
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
    """Check that a second stage changes no cell of the first and that free cells stay 0."""
    model, adapter = adapted()
    first, second = two_masks(adapter)
    adapter.open(first)
    train(model, 5, make, accumulate, clip)
    stage1 = trained_cells(adapter, first)
    assert all(bool(values.all()) for values in stage1.values.values()), "a cell of stage 1 did not change"

    freeze(adapter, [stage1])
    adapter.open(second)
    train(model, steps, make, accumulate, clip)
    assert any(bool(values.any()) for values in adapter.opened().values()), "stage 2 did not change"
    for site, acting in adapter.dense().items():
        assert torch.equal(acting[first[site]], stage1.values[site]), site
        assert not acting[~first[site] & ~second[site]].any(), site


def check_as_trained_logits_do_not_change(steps: int) -> None:
    """Check that the logits of stage 1 alone are bit-identical before and after stage 2 is trained."""
    model, adapter = adapted()
    first, second = two_masks(adapter)
    adapter.open(first)
    train(model, 5)
    stage1 = trained_cells(adapter, first)
    freeze(adapter, [stage1])
    before = logits(model)

    adapter.open(second)
    train(model, steps)
    assert not torch.equal(logits(model), before), "stage 2 has no effect"
    freeze(adapter, [stage1])
    assert torch.equal(logits(model), before)


def check_only_open_values_are_trainable(model: Any, masks: Masks) -> None:
    """Check that the trainable parameters are one vector per site, one entry per open cell."""
    expected = {
        f"base_model.model.{site}.lora_B.default.values": (int(mask.sum()),)
        for site, mask in masks.items()
        if mask.any()
    }
    found = {name: tuple(parameter.shape) for name, parameter in trainable(model)}
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    assert not wrong, [(name, found.get(name), expected.get(name)) for name in wrong]


def check_a_stays_frozen_when_peft_enables_gradients() -> None:
    """Check that set_adapter() and disable_adapter() leave A frozen and that no optimizer changes it."""
    model, adapter = adapted()
    masks, _ = two_masks(adapter)
    adapter.open(masks)
    digest = adapter.projection_digest()
    check_only_open_values_are_trainable(model, masks)
    model.set_adapter("default")
    check_only_open_values_are_trainable(model, masks)
    with model.disable_adapter():
        loss(model)
    check_only_open_values_are_trainable(model, masks)
    train(model, 2)
    assert adapter.projection_digest() == digest


def check_dense_holds_exactly_the_frozen_cells(stages: int) -> None:
    """Check that dense() of frozen stages holds exactly their cells and zeros elsewhere."""
    _, adapter = adapted()
    frozen_cells = [
        Cells(masks, {site: torch.randn(int(mask.sum())) for site, mask in masks.items()})
        for masks in two_masks(adapter)[:stages]
    ]
    freeze(adapter, frozen_cells)
    for site, acting in adapter.dense().items():
        expected = torch.zeros_like(acting)
        for cells in frozen_cells:
            expected[cells.masks[site]] = cells.values[site]
        assert torch.equal(acting, expected), site
