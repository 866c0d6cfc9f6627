"""The whole adapter: one sparse B per site inside a PEFT model, put in and taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters.bank import Bank, Projections
from lori_cl.adapters.lora_model import ADAPTER_NAME, PEFT_PREFIX, alpha_for
from lori_cl.adapters.modules import FrozenA, SparseB, plain_linear
from lori_cl.adapters.projection import Distribution, draw_projection
from lori_cl.adapters.sites import Site


class SparseAdapter:
    """A handle on every site of a model that `attach` has changed."""

    def __init__(self, layers: Mapping[str, Any], name: str, config: Any) -> None:
        self._layers = dict(layers)
        self._config = config
        self._name = name
        self.sites: tuple[Site, ...] = tuple(_site(site, layer, name) for site, layer in layers.items())
        self._drawn: Projections = {site: a.weight.cpu() for site, a in self._a().items()}
        self._installed: tuple[Projections, ...] = (self._drawn,)

    @property
    def cells(self) -> int:
        """All cells of the adapter, free and taken."""
        return sum(site.cells for site in self.sites)

    @property
    def layers(self) -> Mapping[str, Any]:
        """PEFT's LoRA layers, by site."""
        return self._layers

    def projections(self) -> Projections:
        """Every site's A as it was attached, on the CPU."""
        return self._drawn

    def install(self, banks: Sequence[Bank]) -> None:
        """Let exactly these banks act, side by side; none of their cells is trainable.

        Without any, the A that was attached stays, over a B of zeros.
        """
        banks = banks or [Bank(self._drawn)]
        self._place([bank.projections for bank in banks])
        for site, b in self._b().items():
            first = 0
            for bank in banks:
                rows = bank.projections[site].shape[0]
                _write(b.frozen[:, first : first + rows], bank, site)
                first += rows

    def open(self, masks: Mapping[str, Bool[Tensor, "out r"]], *, carry_on: bool = False) -> None:
        """Let these cells of the last bank train from 0, on top of the frozen ones; a site left out gets
        none.

        With `carry_on` they train on from the values that they hold.
        """
        for site, b in self._b().items():
            whole = torch.zeros_like(b.frozen, dtype=torch.bool)
            if site in masks:
                first = whole.shape[1] - self._installed[-1][site].shape[0]
                mask = masks[site]
                whole[:, first : first + mask.shape[1]] = mask.to(whole.device)
            b.open(whole, carry_on=carry_on)

    def fill(self, values: Mapping[str, Float[Tensor, "cells"]]) -> None:
        """Give the open cells these values, in their masks' row-major order; they no longer train."""
        for site, b in self._b().items():
            if b.values is not None:
                b.values = nn.Parameter(values[site].to(b.frozen), requires_grad=False)

    def opened(self) -> Mapping[str, Float[Tensor, "cells"]]:
        """Copies of the open cells' values, float32 on the CPU; sites without open cells are left out."""
        return {
            site: b.values.detach().to("cpu", torch.float32, copy=True)
            for site, b in self._b().items()
            if b.values is not None
        }

    def take_gradients(self) -> Mapping[str, Float[Tensor, "cells"]]:
        """The open cells' gradients, float32 on the CPU, which are gone from the adapter then."""
        taken = {}
        for site, b in self._b().items():
            if b.values is not None and b.values.grad is not None:
                taken[site] = b.values.grad.to("cpu", torch.float32, copy=True)
                b.values.grad = None
        return taken

    def dense(self) -> Mapping[str, Float[Tensor, "out r"]]:
        """Copies of every site's B as it acts now, on the CPU."""
        return {site: b.weight.detach().to("cpu", copy=True) for site, b in self._b().items()}

    def projection_digest(self) -> str:
        """SHA-256 of every A as it stands in the model."""
        return projections_digest({site: a.weight for site, a in self._a().items()})

    def acting_digest(self) -> str:
        """SHA-256 of everything of the adapter that acts on an input: each A, each B, each scale."""
        scales = [float(layer.scaling[self._name]) for layer in self._layers.values()]
        acting_b = tensors_digest(self.dense().items())
        return digest.of_json([self.projection_digest(), acting_b, scales])

    def detach(self) -> None:
        """Put plain Linears back with the acting weights: the model is an ordinary PEFT LoRA again.

        Its rank is the rows of all banks together, and its alpha keeps the scale that they act with.
        """
        for layer in self._layers.values():
            rows = layer.lora_A[self._name].weight.shape[0]
            alpha = alpha_for(layer.scaling[self._name], rows)
            layer.r[self._name], layer.lora_alpha[self._name] = rows, alpha
            self._config.r, self._config.lora_alpha = rows, alpha
            for modules in (layer.lora_A, layer.lora_B):
                modules[self._name] = plain_linear(modules[self._name].weight.detach().clone())

    def _place(self, projections: Sequence[Projections]) -> None:
        """Make every A hold these rows, one below the other, and every B as many columns of zeros."""
        same = len(projections) == len(self._installed) and all(
            new is old for new, old in zip(projections, self._installed, strict=True)
        )
        for site, b in self._b().items():
            b.close()
            if same:
                b.frozen.zero_()
                continue
            a = self._a()[site]
            rows = [each[site].to(a.weight.device) for each in projections]
            a.weight = rows[0] if len(rows) == 1 else torch.cat(rows)  # (Σr, d_in)
            b.frozen = b.frozen.new_zeros(b.frozen.shape[0], a.weight.shape[0])
        self._installed = tuple(projections)

    def _a(self) -> dict[str, FrozenA]:
        return {site: layer.lora_A[self._name] for site, layer in self._layers.items()}

    def _b(self) -> dict[str, SparseB]:
        return {site: layer.lora_B[self._name] for site, layer in self._layers.items()}


def attach(model: Any, seed: int, distribution: Distribution, name: str = ADAPTER_NAME) -> SparseAdapter:
    """Swap every lora_A and lora_B of a PeftModel for a frozen A and a sparse B that is all zero.

    The swap works because PEFT's layers call lora_B(lora_A(x)) and otherwise only read `.weight`.
    """
    layers = lora_layers(model, name)
    for site, layer in layers.items():
        weight = layer.lora_A[name].weight
        rank, in_features = weight.shape
        drawn = torch.from_numpy(draw_projection(seed, site, rank, in_features, distribution))
        out_features = layer.lora_B[name].weight.shape[0]
        layer.lora_A[name] = FrozenA(drawn.to(weight.device))
        layer.lora_B[name] = SparseB(out_features, rank, weight.device)
    return SparseAdapter(layers, name, model.peft_config[name])


def lora_layers(model: Any, name: str = ADAPTER_NAME) -> dict[str, Any]:
    """PEFT's LoRA layers that hold the named adapter, by the base model's module names."""
    return {
        path.removeprefix(PEFT_PREFIX): module
        for path, module in model.named_modules()
        if isinstance(module, LoraLayer) and name in module.lora_A
    }


def draw_projections(
    sites: Sequence[Site], seed: int, distribution: Distribution, grown_rows: int = 0
) -> Projections:
    """An A for every site, on the CPU; rows that the adapter grew by are drawn one by one, after its own."""
    drawn = {}
    for site in sites:
        blocks = [draw_projection(seed, site.name, site.rank, site.in_features, distribution)]
        blocks += [
            draw_projection(seed, f"{site.name}[{site.rank + row}]", 1, site.in_features, distribution)
            for row in range(grown_rows)
        ]
        drawn[site.name] = torch.from_numpy(np.concatenate(blocks))
    return drawn


def projections_digest(projections: Projections) -> str:
    """SHA-256 of every A."""
    return tensors_digest(projections.items())


def tensors_digest(items: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors, in the order given."""
    return digest.of_named(
        (name, str(tensor.dtype), tuple(tensor.shape), _raw(tensor.detach())) for name, tensor in items
    )


def _write(frozen: Float[Tensor, "out rows"], bank: Bank, site: str) -> None:
    for stage in bank.stages:
        if site in stage.values:
            mask = stage.masks[site].to(frozen.device)
            columns = frozen[:, : mask.shape[1]]
            values = stage.values[site].to(frozen)
            columns[mask] = columns[mask] + values if bank.sums else values


def _raw(tensor: Tensor) -> memoryview:
    return tensor.cpu().contiguous().view(torch.uint8).reshape(-1).numpy().data


def _site(name: str, layer: Any, adapter: str) -> Site:
    rank, in_features = layer.lora_A[adapter].weight.shape
    return Site(name, in_features, layer.lora_B[adapter].weight.shape[0], rank)


def site_shapes(sites: Sequence[Site]) -> dict[str, tuple[int, int]]:
    """Each site's (out, r)."""
    return {site.name: (site.out_features, site.rank) for site in sites}
