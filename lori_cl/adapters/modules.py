"""The two modules that take the places of PEFT's lora_A and lora_B."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional


def plain_linear(weight: Float[Tensor, "out in"]) -> nn.Linear:
    """A Linear that holds this very weight, frozen."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")  # draws nothing
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


class FrozenA(nn.Module):
    """x ↦ A x. A is a buffer: PEFT switches `requires_grad` back on in parameters, a buffer has none."""

    weight: Float[Tensor, "r d_in"]

    def __init__(self, weight: Float[Tensor, "r d_in"]) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... r"]:
        """Project the input."""
        return functional.linear(x, self.weight)


class SparseB(nn.Module):
    """h ↦ B h, where B holds earlier stages' cells in a buffer and this stage's cells in a 1-D parameter.

    The optimizer never sees an earlier cell: AdamW decays even cells whose gradient is zero, and its
    momentum moves them, so they must not be parameters at all.
    """

    frozen: Float[Tensor, "out r"]
    index: Int64[Tensor, "open"]
    beneath: Float[Tensor, "open"] | None

    def __init__(self, out_features: int, rank: int, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("frozen", torch.zeros(out_features, rank, device=device))
        self.register_buffer("index", torch.zeros(0, dtype=torch.int64, device=device))
        self.register_buffer("beneath", None)
        self.values: nn.Parameter | None = None

    @property
    def weight(self) -> Float[Tensor, "out r"]:
        """B as it acts now, float32; PEFT reads this where it merges or asks for the dtype."""
        return self.frozen if self.values is None else _fill(self.frozen, self.index, self._acting())

    def open(self, mask: Bool[Tensor, "out r"], *, carry_on: bool = False) -> None:
        """Let the cells of the mask train. A site without cells gets no parameter.

        They train from 0, added to what earlier stages hold there; with `carry_on`, from those values
        instead.
        """
        self.index = mask.flatten().nonzero().squeeze(1).to(self.frozen.device)
        held = self.frozen.flatten()[self.index]  # (open,)
        self.beneath = held if not carry_on and bool(held.any()) else None
        # FSDP2 fails on a parameter of size 0.
        start = held if carry_on else torch.zeros_like(held)
        self.values = nn.Parameter(start) if self.index.numel() else None

    def close(self) -> None:
        """Drop the open cells."""
        self.index = self.index.new_zeros(0)
        self.beneath = None
        self.values = None

    def _acting(self) -> Float[Tensor, "open"]:
        assert self.values is not None, "no cell is open"
        return self.values if self.beneath is None else self.beneath + self.values

    def forward(self, h: Float[Tensor, "... r"]) -> Float[Tensor, "... out"]:
        """Multiply by B, in the dtype that autocast asks for or else in h's."""
        if torch.is_autocast_enabled(h.device.type):
            h = h.to(torch.get_autocast_dtype(h.device.type))
        if self.values is None:
            return functional.linear(h, self.frozen.to(h.dtype))
        product: Tensor = _SparseLinear.apply(h, self._acting(), self.frozen, self.index)  # type: ignore[no-untyped-call]
        return product


class _SparseLinear(torch.autograd.Function):
    """h Bᵀ that keeps h (r wide) and the compact values for backward, never the filled-in B."""

    @staticmethod
    def forward(
        ctx: Any,
        h: Float[Tensor, "... r"],
        values: Float[Tensor, "open"],
        frozen: Float[Tensor, "out r"],
        index: Int64[Tensor, "open"],
    ) -> Float[Tensor, "... out"]:
        ctx.save_for_backward(h, values, frozen, index)
        return functional.linear(h, _fill(frozen, index, values).to(h.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (g,) = grads  # (..., out)
        h, values, frozen, index = ctx.saved_tensors
        grad_h = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_h = g @ _fill(frozen, index, values).to(g.dtype)  # (..., r)
        if ctx.needs_input_grad[1]:
            dense = g.flatten(0, -2).T @ h.flatten(0, -2)  # (out, r)
            grad_values = dense.flatten()[index].to(values.dtype)  # (open,)
        return grad_h, grad_values, None, None


def _fill(
    frozen: Float[Tensor, "out r"], index: Int64[Tensor, "open"], values: Float[Tensor, "open"]
) -> Float[Tensor, "out r"]:
    """B: the frozen cells with the open ones written in."""
    return frozen.flatten().scatter(0, index, values).view_as(frozen)
