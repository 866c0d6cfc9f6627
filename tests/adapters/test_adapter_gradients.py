from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lori_cl.adapters.modules import FrozenA, _SparseLinear

from . import checks
from .tiny import (
    MODELS,
    adamw,
    adapted,
    freeze,
    llama,
    logits,
    lora_layers,
    loss,
    trainable,
    trained_cells,
    two_masks,
    write_open_values,
)

LEADING = [(6,), (2, 3), (2, 2, 3)]


@pytest.mark.parametrize("leading", LEADING)
def test_compact_gradient_is_bitwise_equal_to_the_masked_dense_gradient(leading: tuple[int, ...]) -> None:
    checks.check_compact_gradient_matches_masked_dense_gradient(*leading)


@pytest.mark.parametrize("leading", LEADING)
def test_input_gradient_equals_that_of_the_dense_layer(leading: tuple[int, ...]) -> None:
    checks.check_input_gradient_matches_dense_layer(*leading)


def test_both_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    values = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
    frozen = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    index = torch.tensor([0, 3, 4, 11, 23])

    def product(h: Tensor, values: Tensor) -> Tensor:
        return _SparseLinear.apply(h, values, frozen, index)

    assert torch.autograd.gradcheck(product, (h, values))


def test_backward_saves_neither_the_wide_input_nor_a_dense_b() -> None:
    sparse, *_ = checks.sparse_b_and_dense_copy()
    a = FrozenA(torch.randn(5, 40))
    x = torch.randn(6, 40, requires_grad=True)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda t: t):
        sparse(a(x))
    assert (6, 5) in {tuple(tensor.shape) for tensor in saved}
    assert x.data_ptr() not in {tensor.data_ptr() for tensor in saved}
    wide = [tensor for tensor in saved if tensor.shape == sparse.frozen.shape]
    assert {tensor.data_ptr() for tensor in wide} == {sparse.frozen.data_ptr()}


@pytest.mark.parametrize("name", MODELS)
def test_earlier_layers_receive_the_gradients_of_plain_peft(name: str) -> None:
    checks.check_upstream_gradients_match_plain_peft(MODELS[name])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    gradients, forwards = [], []
    for checkpointing in (False, True):
        model, *_ = checks.two_stage_model(llama())
        model.train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        calls: list[str] = []
        lora_layers(model)[0].lora_B["default"].register_forward_hook(
            lambda *_, calls=calls: calls.append("b")
        )
        loss(model).backward()
        forwards.append(len(calls))
        gradients.append([parameter.grad for _, parameter in trainable(model)])
    assert forwards == [1, 2]
    assert all(plain.any() for plain in gradients[0])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.equal(plain, checkpointed)


def test_bf16_base_keeps_float32_values_projections_and_gradients() -> None:
    model, *_ = checks.two_stage_model(llama().to(torch.bfloat16))
    loss(model).backward()
    dtypes = {parameter.dtype for _, parameter in trainable(model)}
    assert dtypes == {torch.float32} == {parameter.grad.dtype for _, parameter in trainable(model)}
    assert {buffer.dtype for name, buffer in model.named_buffers() if "lora_A" in name} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_on_a_bf16_base_small_steps_move_every_cell_that_has_a_gradient() -> None:
    model, *_ = checks.two_stage_model(llama().to(torch.bfloat16))
    before = {name: parameter.detach().clone() for name, parameter in trainable(model)}
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable(model)], lr=5e-5, weight_decay=0.0)
    loss(model).backward()
    optimizer.step()
    for name, parameter in trainable(model):
        assert torch.equal(parameter != before[name], parameter.grad != 0), name


def test_stage_on_a_bf16_base_is_kept_in_exact_float32() -> None:
    model, adapter = adapted(llama().to(torch.bfloat16))
    first, _ = two_masks(adapter)
    adapter.open(first)
    write_open_values(model)
    stage = trained_cells(adapter, first)
    freeze(adapter, [stage])
    for site, acting in adapter.dense().items():
        assert acting.dtype == torch.float32
        assert torch.equal(acting[first[site]], stage.values[site])


def test_under_bf16_autocast_forward_and_backward_agree_with_float32() -> None:
    model, *_ = checks.two_stage_model(llama())
    loss(model).backward()
    exact = torch.cat([parameter.grad for _, parameter in trainable(model)])
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss(model).backward()
    mixed = torch.cat([parameter.grad for _, parameter in trainable(model)])
    assert mixed.dtype == torch.float32
    assert torch.cosine_similarity(exact, mixed, dim=0) > 0.99
    assert 0.9 < float(mixed.norm() / exact.norm()) < 1.1


def test_under_bf16_autocast_a_site_without_open_cells_also_multiplies_in_bf16() -> None:
    model, adapter = adapted()
    adapter.open(two_masks(adapter)[0])
    write_open_values(model)
    with torch.autocast("cpu", torch.bfloat16):
        open_logits = logits(model)
        freeze(adapter, [trained_cells(adapter, two_masks(adapter)[0])])
        assert torch.equal(logits(model), open_logits)


def test_under_bf16_autocast_a_float32_input_is_multiplied_and_differentiated_in_bf16() -> None:
    sparse, dense, mask = checks.sparse_b_and_dense_copy()
    h, g = checks.inputs_and_gradient(6)
    h.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        product = sparse(h)
    assert product.dtype == torch.bfloat16
    product.backward(g.bfloat16())
    assert sparse.values is not None
    assert (sparse.values.grad.dtype, h.grad.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(h.grad, g @ dense.weight, rtol=0.05, atol=0.1)
    torch.testing.assert_close(sparse.values.grad, (g.T @ h.detach())[mask], rtol=0.05, atol=0.1)


def test_step_with_accumulated_gradients_equals_step_with_their_sum() -> None:
    accumulated, *_ = checks.two_stage_model(llama())
    summed, *_ = checks.two_stage_model(llama())
    for seed in (0, 1):
        loss(accumulated, seed).backward()
    (loss(summed, 0) + loss(summed, 1)).backward()
    for model in (accumulated, summed):
        adamw([parameter for _, parameter in trainable(model)]).step()
    for (name, one), (_, other) in zip(trainable(accumulated), trainable(summed), strict=True):
        torch.testing.assert_close(one, other, msg=name)
