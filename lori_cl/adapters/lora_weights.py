"""An adapter as plain numbers: one A and one B a site, and the scale that they act with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from peft import LoraConfig
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from lori_cl.adapters.lora_model import ADAPTER_NAME, alpha_for
from lori_cl.adapters.modules import plain_linear
from lori_cl.adapters.sites import Site
from lori_cl.adapters.sparse_adapter import lora_layers


@dataclass(frozen=True)
class LoRAWeights:
    """ΔW = scaling · B A at every site; float32 on the CPU."""

    a: Mapping[str, Float[Tensor, "r d_in"]]
    b: Mapping[str, Float[Tensor, "out r"]]
    scaling: float

    @property
    def acts(self) -> bool:
        """Whether it may change anything: a site has an A and a B that are not zero."""
        return any(bool(b.any()) and bool(self.a[site].any()) for site, b in self.b.items())

    @property
    def finite(self) -> bool:
        """Whether every number of it is one."""
        return all(bool(t.isfinite().all()) for t in (*self.a.values(), *self.b.values()))

    @property
    def sites(self) -> list[Site]:
        """The sites that it changes."""
        return [
            Site(site, in_features=self.a[site].shape[1], out_features=b.shape[0], rank=b.shape[1])
            for site, b in self.b.items()
        ]

    def delta(self, site: str) -> Float[Tensor, "out d_in"]:
        """ΔW at a site."""
        delta: Tensor = self.scaling * (self.b[site] @ self.a[site])
        return delta

    def minus(self, other: LoRAWeights) -> LoRAWeights:
        """ΔW less another's, under the A of both, or else as one LoRA of both ranks; the scales must be
        equal."""
        assert self.scaling == other.scaling, "the updates have scales of their own"
        if all(torch.equal(a, other.a[site]) for site, a in self.a.items()):
            return replace(self, b={site: b - other.b[site] for site, b in self.b.items()})
        return LoRAWeights(
            a={site: torch.cat([a, other.a[site]]) for site, a in self.a.items()},
            b={site: torch.cat([b, -other.b[site]], dim=1) for site, b in self.b.items()},
            scaling=self.scaling,
        )


def read_weights(model: Any, name: str = ADAPTER_NAME) -> LoRAWeights:
    """Copies of what acts in a PeftModel right now, whether attached or plain."""
    layers = lora_layers(model, name)
    scalings = {float(layer.scaling[name]) for layer in layers.values()}
    assert len(scalings) == 1, "the adapter has one scale for all sites"
    return LoRAWeights(
        a={site: _copied(layer.lora_A[name].weight) for site, layer in layers.items()},
        b={site: _copied(layer.lora_B[name].weight) for site, layer in layers.items()},
        scaling=scalings.pop(),
    )


def is_transposed(model: Any) -> bool:
    """Whether the sites of a PeftModel hold their weights as GPT-2's Conv1D does."""
    return any(isinstance(layer.get_base_layer(), Conv1D) for layer in lora_layers(model).values())


def add_adapter(model: Any, name: str, weights: LoRAWeights) -> None:
    """Give a PeftModel one more adapter, an ordinary one with these weights; which one acts stays as it is.

    Sites keep ranks of their own; PEFT's `adapter_names` then picks an adapter for every row of a batch.
    """
    model.add_adapter(name, lora_config(weights))
    for site, layer in lora_layers(model, name).items():
        layer.lora_A[name] = plain_linear(weights.a[site].to(model.device))
        layer.lora_B[name] = plain_linear(weights.b[site].to(model.device))
        layer.scaling[name] = weights.scaling


def lora_config(weights: LoRAWeights, **more: Any) -> LoraConfig:
    """PEFT's configuration of an adapter with these weights."""
    rank = next(iter(weights.a.values())).shape[0]
    return LoraConfig(
        r=rank,
        lora_alpha=alpha_for(weights.scaling, rank),
        target_modules=list(weights.a),
        lora_dropout=0.0,
        bias="none",
        **more,
    )


def _copied(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", copy=True).float()
