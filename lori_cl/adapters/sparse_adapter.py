"""The whole adapter: one sparse B per site inside a PEFT model, attached and detached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from lori_cl.model_traits import module_device


class SparseAdapter:
    """The adapter of a model that was changed by `attach`."""

    def __init__(self, layers: Mapping[str, Any], name: str, config: Any) -> None:
        self._layers = dict(layers)
        self._config = config
        self._name = name
        self.sites: tuple[Site, ...] = tuple(_site(site, layer, name) for site, layer in layers.items())
        self._drawn: Projections = {site: a.weight.cpu() for site, a in self._a().items()}
        self._installed: tuple[Projections, ...] = (self._drawn,)

    @property
    def cells(self) -> int:
        """Total number of cells, free and claimed."""
        return sum(site.cells for site in self.sites)

    @property
    def layers(self) -> Mapping[str, Any]:
        """PEFT's LoRA layers, by site."""
        return self._layers

    def projections(self) -> Projections:
        """Return every site's A as drawn by `attach`, on the CPU."""
        return self._drawn

    def install(self, banks: Sequence[Bank]) -> None:
        """Make exactly these banks active; none of their cells is trainable.

        Without banks, the adapter has the A drawn by `attach` and a B of zeros.
        """
        banks = banks or [Bank(self._drawn)]
        self._place([bank.projections for bank in banks])
        for site, b in self._b().items():
            first = 0
            for bank in banks:
                rows = bank.projections[site].shape[0]
                _write(b.frozen[:, first : first + rows], bank, site)
                first += rows

    def open(self, masks: Mapping[str, Bool[Tensor, "out r"]], *, keep_values: bool = False) -> None:
        """Make these cells of the last bank trainable. Sites that are not given get none.

        They start at 0 and are added to the frozen values; with `keep_values`, they start at those values.
        """
        for site, b in self._b().items():
            all_rows = torch.zeros_like(b.frozen, dtype=torch.bool)
            if site in masks:
                first = all_rows.shape[1] - self._installed[-1][site].shape[0]
                mask = masks[site]
                all_rows[:, first : first + mask.shape[1]] = mask.to(all_rows.device)
            b.open(all_rows, keep_values=keep_values)

    def fill(self, values: Mapping[str, Float[Tensor, "cells"]]) -> None:
        """Set the open cells to these values, in their masks' row-major order, and freeze them."""
        for site, b in self._b().items():
            if b.values is not None:
                b.values = nn.Parameter(values[site].to(b.frozen), requires_grad=False)

    def opened(self) -> Mapping[str, Float[Tensor, "cells"]]:
        """Return copies of the open cells' values, float32 on the CPU, without sites that have none."""
        return {
            site: b.values.detach().to("cpu", torch.float32, copy=True)
            for site, b in self._b().items()
            if b.values is not None
        }

    def take_gradients(self) -> Mapping[str, Float[Tensor, "cells"]]:
        """Return the open cells' gradients, float32 on the CPU, and clear them in the adapter."""
        gradients = {}
        for site, b in self._b().items():
            if b.values is not None and b.values.grad is not None:
                gradients[site] = b.values.grad.to("cpu", torch.float32, copy=True)
                b.values.grad = None
        return gradients

    def dense(self) -> Mapping[str, Float[Tensor, "out r"]]:
        """Return copies of every site's current B, on the CPU."""
        return {site: b.weight.detach().to("cpu", copy=True) for site, b in self._b().items()}

    def projection_digest(self) -> str:
        """Return the SHA-256 of every A in the model."""
        return projections_digest({site: a.weight for site, a in self._a().items()})

    def acting_digest(self) -> str:
        """Return the SHA-256 of the active adapter: every A, every B and every scale."""
        scales = [float(layer.scaling[self._name]) for layer in self._layers.values()]
        acting_b = tensors_digest(self.dense().items())
        return digest.of_json([self.projection_digest(), acting_b, scales])

    def detach(self) -> None:
        """Restore plain Linears with the active weights: the model is an ordinary PEFT LoRA again.

        Its rank is the total number of rows of all banks; its alpha keeps the scale.
        """
        for layer in self._layers.values():
            rows = layer.lora_A[self._name].weight.shape[0]
            alpha = alpha_for(layer.scaling[self._name], rows)
            layer.r[self._name], layer.lora_alpha[self._name] = rows, alpha
            self._config.r, self._config.lora_alpha = rows, alpha
            for modules in (layer.lora_A, layer.lora_B):
                modules[self._name] = plain_linear(modules[self._name].weight.detach().clone())

    def _place(self, projections: Sequence[Projections]) -> None:
        """Set every A to these rows, concatenated, and every B to as many columns of zeros."""
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
    """Replace every lora_A and lora_B of a PeftModel with a frozen A and a sparse B of zeros.

    This works because PEFT's layers call lora_B(lora_A(x)) and otherwise only read `.weight`.
    """
    layers = lora_layers(model, name)
    for site, layer in layers.items():
        weight = layer.lora_A[name].weight
        rank, in_features = weight.shape
        drawn = torch.from_numpy(draw_projection(seed, site, rank, in_features, distribution))
        out_features = layer.lora_B[name].weight.shape[0]
        device = module_device(layer.get_base_layer())
        layer.lora_A[name] = FrozenA(drawn.to(device))
        layer.lora_B[name] = SparseB(out_features, rank, device)
    return SparseAdapter(layers, name, model.peft_config[name])


def lora_layers(model: Any, name: str = ADAPTER_NAME) -> dict[str, Any]:
    """Return PEFT's LoRA layers with the named adapter, by the base model's module names."""
    return {
        path.removeprefix(PEFT_PREFIX): module
        for path, module in model.named_modules()
        if isinstance(module, LoraLayer) and name in module.lora_A
    }


def draw_projections(
    sites: Sequence[Site], seed: int, distribution: Distribution, grown_rows: int = 0
) -> Projections:
    """Draw A for every site, on the CPU. Rows added by growth are drawn one by one and appended."""
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
    """Return the SHA-256 of every A."""
    return tensors_digest(projections.items())


def tensors_digest(items: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of named tensors, in the given order."""
    return digest.of_named(
        (name, str(tensor.dtype), tuple(tensor.shape), _raw(tensor.detach()))
        for name, tensor in _plain_tensors(items)
    )


def _plain_tensors(items: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the parts of tensors that consist of several, such as the values and scales of torchao's."""
    for name, tensor in items:
        flatten = getattr(tensor, "__tensor_flatten__", None)
        if flatten is None:
            yield name, tensor
        else:
            parts = ((f"{name}.{part}", getattr(tensor, part)) for part in flatten()[0])
            yield from _plain_tensors((key, part) for key, part in parts if part is not None)


def _write(frozen: Float[Tensor, "out rows"], bank: Bank, site: str) -> None:
    for stage in bank.stages:
        if site in stage.values:
            mask = stage.masks[site].to(frozen.device)
            columns = frozen[:, : mask.shape[1]]
            values = stage.values[site].to(frozen)
            columns[mask] = columns[mask] + values if bank.sums else values


def _raw(tensor: Tensor) -> memoryview:
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _site(name: str, layer: Any, adapter: str) -> Site:
    rank, in_features = layer.lora_A[adapter].weight.shape
    return Site(name, in_features, layer.lora_B[adapter].weight.shape[0], rank)


def site_shapes(sites: Sequence[Site]) -> dict[str, tuple[int, int]]:
    """Return each site's (out, r)."""
    return {site.name: (site.out_features, site.rank) for site in sites}
