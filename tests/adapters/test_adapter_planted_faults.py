"""Faults planted on purpose: a check that still passes then would prove nothing."""

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
    sound = _SparseLinear.backward

    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_h, grad_values, *_ = sound(ctx, *grads)
        return None if grad_h is None else torch.zeros_like(grad_h), grad_values, None, None

    monkeypatch.setattr(_SparseLinear, "backward", staticmethod(backward))


@pytest.fixture
def gradient_of_the_wrong_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = _SparseLinear.backward

    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_h, grad_values, *_ = sound(ctx, *grads)
        return grad_h, None if grad_values is None else grad_values.roll(1), None, None

    monkeypatch.setattr(_SparseLinear, "backward", staticmethod(backward))


@pytest.fixture
def every_cell_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = SparseB.open
    monkeypatch.setattr(SparseB, "open", lambda self, mask, **_: sound(self, torch.ones_like(mask)))


@pytest.fixture
def every_cell_opened_in_the_second_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = SparseB.open
    monkeypatch.setattr(
        SparseB,
        "open",
        lambda self, mask, **_: sound(self, torch.ones_like(mask) if self.frozen.any() else mask),
    )


@pytest.fixture
def dense_b_with_masked_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published code's way, in the second stage: all of B trains, a mask is laid over its gradient."""
    sound = SparseB.open

    def open_dense(self: SparseB, mask: Tensor, **_: Any) -> None:
        if not self.frozen.any():
            return sound(self, mask)
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
    sound = SparseAdapter.install

    def install(self: SparseAdapter, banks: Any) -> None:
        sound(self, banks)
        for b in self._b().values():
            b.frozen.flatten()[b.frozen.flatten().nonzero()[:1]] = 0.0

    monkeypatch.setattr(SparseAdapter, "install", install)


@pytest.fixture
def freezing_keeps_what_acted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells of a later stage stay in B when an earlier view is asked for."""

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
def test_a_gradient_lost_in_b_is_found_at_the_input() -> None:
    with pytest.raises(AssertionError):
        checks.check_gradient_to_the_input_is_the_dense_one(6)


@pytest.mark.usefixtures("gradient_lost_in_b")
def test_a_gradient_lost_in_b_is_found_in_earlier_layers() -> None:
    with pytest.raises(AssertionError):
        checks.check_upstream_gradients_are_those_of_plain_peft(llama)


@pytest.mark.usefixtures("gradient_of_the_wrong_cells")
def test_a_gradient_of_the_wrong_cells_is_found() -> None:
    with pytest.raises(AssertionError):
        checks.check_compact_gradient_is_the_masked_dense_one(6)


@pytest.mark.usefixtures("every_cell_opened_in_the_second_stage")
def test_a_mask_that_is_ignored_is_found_by_the_earlier_cells() -> None:
    with pytest.raises(AssertionError, match=r"q_proj"):
        checks.check_earlier_cells_are_bit_identical(steps=2)


@pytest.mark.usefixtures("every_cell_opened")
def test_a_mask_that_is_ignored_is_found_in_the_list_of_what_trains() -> None:
    with pytest.raises(AssertionError, match="lora_B"):
        checks.check_a_stays_frozen_when_peft_switches_gradients_on()


@pytest.mark.usefixtures("dense_b_with_masked_gradients")
def test_masked_gradients_of_a_dense_b_are_found_by_the_decay_of_earlier_cells() -> None:
    for optimizer in (checks.adamw, sgd):
        with pytest.raises(AssertionError, match=r"q_proj"):
            checks.check_earlier_cells_are_bit_identical(steps=1, make=optimizer)


@pytest.mark.usefixtures("a_as_a_frozen_parameter")
def test_an_a_that_is_a_parameter_is_found_once_peft_switches_its_gradient_on() -> None:
    with pytest.raises(AssertionError, match="lora_A"):
        checks.check_a_stays_frozen_when_peft_switches_gradients_on()


@pytest.mark.usefixtures("freezing_forgets_the_first_cell")
def test_a_cell_lost_in_freezing_is_found() -> None:
    with pytest.raises(AssertionError, match=r"q_proj"):
        checks.check_what_is_frozen_is_what_acts(2)


@pytest.mark.usefixtures("freezing_keeps_what_acted")
def test_later_cells_that_stay_in_an_earlier_view_are_found() -> None:
    with pytest.raises(AssertionError):
        checks.check_as_trained_logits_do_not_change(steps=2)


@pytest.mark.usefixtures("b_in_half_precision")
def test_a_b_rounded_to_half_precision_is_found() -> None:
    with pytest.raises(AssertionError):
        checks.check_outputs_are_those_of_plain_peft(llama)
