"""Planted faults: every check must fail when its guarantee is broken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lori_cl.adapters import SparseAdapter
from lori_cl.adapters.modules import FrozenA, SparseB, _SparseLinear

from . import checks
from .tiny import llama, sgd


@pytest.fixture
def gradient_lost_in_b(monkeypatch: pytest.MonkeyPatch) -> None:
    original = _SparseLinear.backward

    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_h, grad_values, *_ = original(ctx, *grads)
        return None if grad_h is None else torch.zeros_like(grad_h), grad_values, None, None

    monkeypatch.setattr(_SparseLinear, "backward", staticmethod(backward))


@pytest.fixture
def gradient_of_the_wrong_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    original = _SparseLinear.backward

    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_h, grad_values, *_ = original(ctx, *grads)
        return grad_h, None if grad_values is None else grad_values.roll(1), None, None

    monkeypatch.setattr(_SparseLinear, "backward", staticmethod(backward))


@pytest.fixture
def every_cell_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SparseB.open
    monkeypatch.setattr(SparseB, "open", lambda self, mask, **_: original(self, torch.ones_like(mask)))


@pytest.fixture
def every_cell_opened_in_the_second_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SparseB.open
    monkeypatch.setattr(
        SparseB,
        "open",
        lambda self, mask, **_: original(self, torch.ones_like(mask) if self.frozen.any() else mask),
    )


@pytest.fixture
def dense_b_with_masked_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the second stage like the published code: all of B trains under a masked gradient."""
    original = SparseB.open

    def open_dense(self: SparseB, mask: Tensor, **_: Any) -> None:
        if not self.frozen.any():
            return original(self, mask)
        self.index = torch.arange(mask.numel())
        self.values = nn.Parameter(self.frozen.flatten().clone())
        self.values.register_hook(lambda gradient: gradient * mask.flatten())
        return None

    monkeypatch.setattr(SparseB, "open", open_dense)


@pytest.fixture
def a_as_a_frozen_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(self: FrozenA, weight: Tensor) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(weight, requires_grad=False)

    monkeypatch.setattr(FrozenA, "__init__", init)


@pytest.fixture
def freezing_forgets_the_first_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SparseAdapter.install

    def install(self: SparseAdapter, banks: Any) -> None:
        original(self, banks)
        for b in self._b().values():
            b.frozen.flatten()[b.frozen.flatten().nonzero()[:1]] = 0.0

    monkeypatch.setattr(SparseAdapter, "install", install)


@pytest.fixture
def freezing_keeps_earlier_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the cells of a later stage in B when an earlier view is requested."""

    def install(self: SparseAdapter, banks: Any) -> None:
        for b in self._b().values():
            b.frozen.copy_(b.weight.detach())
            b.close()

    monkeypatch.setattr(SparseAdapter, "install", install)


@pytest.fixture
def b_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: SparseB, h: Tensor) -> Tensor:
        return functional.linear(h, self.weight.bfloat16().to(h.dtype))

    monkeypatch.setattr(SparseB, "forward", forward)


@pytest.mark.usefixtures("gradient_lost_in_b")
def test_gradient_lost_in_b_is_detected_at_the_input() -> None:
    with pytest.raises(AssertionError):
        checks.check_input_gradient_matches_dense_layer(6)


@pytest.mark.usefixtures("gradient_lost_in_b")
def test_gradient_lost_in_b_is_detected_in_earlier_layers() -> None:
    with pytest.raises(AssertionError):
        checks.check_upstream_gradients_match_plain_peft(llama)


@pytest.mark.usefixtures("gradient_of_the_wrong_cells")
def test_gradient_of_the_wrong_cells_is_detected() -> None:
    with pytest.raises(AssertionError):
        checks.check_compact_gradient_matches_masked_dense_gradient(6)


@pytest.mark.usefixtures("every_cell_opened_in_the_second_stage")
def test_ignored_mask_is_detected_by_the_earlier_cells() -> None:
    with pytest.raises(AssertionError, match=r"q_proj"):
        checks.check_earlier_cells_are_bit_identical(steps=2)


@pytest.mark.usefixtures("every_cell_opened")
def test_ignored_mask_is_detected_in_the_trainable_parameters() -> None:
    with pytest.raises(AssertionError, match="lora_B"):
        checks.check_a_stays_frozen_when_peft_enables_gradients()


@pytest.mark.usefixtures("dense_b_with_masked_gradients")
def test_masked_gradients_of_a_dense_b_are_detected_by_weight_decay() -> None:
    for optimizer in (checks.adamw, sgd):
        with pytest.raises(AssertionError, match=r"q_proj"):
            checks.check_earlier_cells_are_bit_identical(steps=1, make=optimizer)


@pytest.mark.usefixtures("a_as_a_frozen_parameter")
def test_trainable_a_is_detected_once_peft_enables_its_gradient() -> None:
    with pytest.raises(AssertionError, match="lora_A"):
        checks.check_a_stays_frozen_when_peft_enables_gradients()


@pytest.mark.usefixtures("freezing_forgets_the_first_cell")
def test_cell_lost_in_freezing_is_detected() -> None:
    with pytest.raises(AssertionError, match=r"q_proj"):
        checks.check_dense_holds_exactly_the_frozen_cells(2)


@pytest.mark.usefixtures("freezing_keeps_earlier_cells")
def test_later_cells_left_in_an_earlier_view_are_detected() -> None:
    with pytest.raises(AssertionError):
        checks.check_as_trained_logits_do_not_change(steps=2)


@pytest.mark.usefixtures("b_in_half_precision")
def test_b_rounded_to_half_precision_is_detected() -> None:
    with pytest.raises(AssertionError):
        checks.check_outputs_match_plain_peft(llama)
