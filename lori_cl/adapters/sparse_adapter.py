"""The whole adapter: one sparse B per site inside a PEFT model, put in and taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lori_cl import digest
from lori_cl.adapters.cells import Cells
from lori_cl.adapters.lora_model import ADAPTER_NAME
from lori_cl.adapters.modules import FrozenA, SparseB
from lori_cl.adapters.projection import Distribution, draw_projection
from lori_cl.adapters.sites import Site

PEFT_PREFIX = "base_model.model."


class SparseAdapter:
    """A handle on every site of a model that `attach` has changed."""

    def __init__(self, layers: Mapping[str, Any], name: str) -> None:
        self._layers = dict(layers)
        self._name = name
        self.sites: tuple[Site, ...] = tuple(_site(site, layer, name) for site, layer in layers.items())

    @property
    def cells(self) -> int:
        """All cells of the adapter, free and taken."""
        return sum(site.cells for site in self.sites)

    def freeze(self, stages: Iterable[Cells]) -> None:
        """Let exactly these stages' cells act, none of them trainable; nothing else acts."""
        for b in self._b().values():
            b.close()
            b.frozen.zero_()
        for cells in stages:
            for site, values in cells.values.items():
                b = self._b()[site]
                mask = cells.masks[site].to(b.frozen.device)
                b.frozen[mask] = values.to(b.frozen)

    def open(self, masks: Mapping[str, Bool[Tensor, "out r"]]) -> None:
        """Let these cells train from 0, on top of the frozen ones; a site left out gets none."""
        for site, b in self._b().items():
            b.open(masks.get(site, torch.zeros_like(b.frozen, dtype=torch.bool)))

    def opened(self) -> Mapping[str, Float[Tensor, "cells"]]:
        """Copies of the open cells' values, float32 on the CPU; sites without open cells are left out."""
        return {
            site: b.values.detach().to("cpu", torch.float32, copy=True)
            for site, b in self._b().items()
            if b.values is not None
        }

    def dense(self) -> Mapping[str, Float[Tensor, "out r"]]:
        """Copies of every site's B as it acts now, on the CPU."""
        return {site: b.weight.detach().to("cpu", copy=True) for site, b in self._b().items()}

    def projection_digest(self) -> str:
        """SHA-256 of every A as it stands in the model."""
        return tensors_digest((site, self._layers[site].lora_A[self._name].weight) for site in self._layers)

    def acting_digest(self) -> str:
        """SHA-256 of everything of the adapter that acts on an input: each A, each B, each scale."""
        scales = [float(layer.scaling[self._name]) for layer in self._layers.values()]
        acting_b = tensors_digest(self.dense().items())
        return digest.of_json([self.projection_digest(), acting_b, scales])

    def detach(self) -> None:
        """Put plain Linears back with the acting weights: the model is an ordinary PEFT LoRA again."""
        for layer in self._layers.values():
            for modules in (layer.lora_A, layer.lora_B):
                weight = modules[self._name].weight.detach().clone()  # (out, in)
                linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
                linear.weight = nn.Parameter(weight, requires_grad=False)
                modules[self._name] = linear

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
    return SparseAdapter(layers, name)


def lora_layers(model: Any, name: str = ADAPTER_NAME) -> dict[str, Any]:
    """PEFT's LoRA layers that hold the named adapter, by the base model's module names."""
    return {
        path.removeprefix(PEFT_PREFIX): module
        for path, module in model.named_modules()
        if isinstance(module, LoraLayer) and name in module.lora_A
    }


def tensors_digest(items: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors, in the order given."""
    return digest.of_named(
        (name, str(tensor.dtype), tuple(tensor.shape), _raw(tensor.detach())) for name, tensor in items
    )


def _raw(tensor: Tensor) -> memoryview:
    return tensor.cpu().contiguous().view(torch.uint8).reshape(-1).numpy().data


def _site(name: str, layer: Any, adapter: str) -> Site:
    rank, in_features = layer.lora_A[adapter].weight.shape
    return Site(name, in_features, layer.lora_B[adapter].weight.shape[0], rank)


def site_shapes(sites: Sequence[Site]) -> dict[str, tuple[int, int]]:
    """Each site's (out, r)."""
    return {site.name: (site.out_features, site.rank) for site in sites}
