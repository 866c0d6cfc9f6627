"""The two modules that replace PEFT's lora_A and lora_B."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional


def plain_linear(weight: Float[Tensor, "out in"]) -> nn.Linear:
    """Return a frozen Linear that shares this weight."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")  # not initialized
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


class FrozenA(nn.Module):
    """x ↦ A x. A is a buffer, because PEFT re-enables `requires_grad` of parameters."""

    weight: Float[Tensor, "r d_in"]

    def __init__(self, weight: Float[Tensor, "r d_in"]) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... r"]:
        """Project the input."""
        # With a device map, accelerate moves the input of the base layer only.
        return functional.linear(x.to(self.weight.device), self.weight)


class SparseB(nn.Module):
    """h ↦ B h. B holds the cells of earlier stages in a buffer and those of this stage in a 1-D parameter.

    Earlier cells must not be parameters: AdamW decays cells with zero gradient too, and its momentum moves
    them.
    """

    frozen: Float[Tensor, "out r"]
    index: Int64[Tensor, "open"]
    offset: Float[Tensor, "open"] | None

    def __init__(self, out_features: int, rank: int, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("frozen", torch.zeros(out_features, rank, device=device))
        self.register_buffer("index", torch.zeros(0, dtype=torch.int64, device=device))
        self.register_buffer("offset", None)
        self.values: nn.Parameter | None = None

    @property
    def weight(self) -> Float[Tensor, "out r"]:
        """The current B, float32. PEFT reads it for merging and for its dtype."""
        return self.frozen if self.values is None else _fill(self.frozen, self.index, self._acting())

    def open(self, mask: Bool[Tensor, "out r"], *, keep_values: bool = False) -> None:
        """Make the cells of the mask trainable. A site without cells gets no parameter.

        They start at 0 and are added to the values of earlier stages; with `keep_values`, they start at those
        values instead.
        """
        self.index = mask.flatten().nonzero().squeeze(1).to(self.frozen.device)
        held = self.frozen.flatten()[self.index]  # (open,)
        self.offset = held if not keep_values and bool(held.any()) else None
        # FSDP2 fails on a parameter of size 0.
        start = held if keep_values else torch.zeros_like(held)
        self.values = nn.Parameter(start) if self.index.numel() else None

    def close(self) -> None:
        """Discard the open cells."""
        self.index = self.index.new_zeros(0)
        self.offset = None
        self.values = None

    def _acting(self) -> Float[Tensor, "open"]:
        assert self.values is not None, "no cell is open"
        return self.values if self.offset is None else self.offset + self.values

    def forward(self, h: Float[Tensor, "... r"]) -> Float[Tensor, "... out"]:
        """Multiply by B, in the autocast dtype, or in the dtype of h without autocast."""
        if torch.is_autocast_enabled(h.device.type):
            h = h.to(torch.get_autocast_dtype(h.device.type))
        if self.values is None:
            return functional.linear(h, self.frozen.to(h.dtype))
        product: Tensor = _SparseLinear.apply(h, self._acting(), self.frozen, self.index)  # type: ignore[no-untyped-call]
        return product


class _SparseLinear(torch.autograd.Function):
    """h Bᵀ that saves h (width r) and the compact values for backward, not the full B."""

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
    """Return B: the frozen cells with the open cells filled in."""
    return frozen.flatten().scatter(0, index, values).view_as(frozen)
