"""The weights of an adapter: A and B per site, and the scaling."""

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
from lori_cl.model_traits import is_encoder_decoder, module_device


@dataclass(frozen=True)
class LoRAWeights:
    """ΔW = scaling · B A at every site; float32 on the CPU."""

    a: Mapping[str, Float[Tensor, "r d_in"]]
    b: Mapping[str, Float[Tensor, "out r"]]
    scaling: float

    @property
    def nonzero(self) -> bool:
        """Whether the adapter can have an effect: at least one site has a non-zero A and a non-zero B."""
        return any(bool(b.any()) and bool(self.a[site].any()) for site, b in self.b.items())

    @property
    def finite(self) -> bool:
        """Whether all weights are finite."""
        return all(bool(t.isfinite().all()) for t in (*self.a.values(), *self.b.values()))

    @property
    def sites(self) -> list[Site]:
        """The adapted sites."""
        return [
            Site(site, in_features=self.a[site].shape[1], out_features=b.shape[0], rank=b.shape[1])
            for site, b in self.b.items()
        ]

    def delta(self, site: str) -> Float[Tensor, "out d_in"]:
        """Return ΔW at a site."""
        delta: Tensor = self.scaling * (self.b[site] @ self.a[site])
        return delta

    def minus(self, other: LoRAWeights) -> LoRAWeights:
        """Return ΔW − ΔW of another adapter with the same scaling.

        The result keeps A if both have the same, and otherwise has the sum of both ranks.
        """
        assert self.scaling == other.scaling, "the adapters have different scalings"
        if all(torch.equal(a, other.a[site]) for site, a in self.a.items()):
            return replace(self, b={site: b - other.b[site] for site, b in self.b.items()})
        return LoRAWeights(
            a={site: torch.cat([a, other.a[site]]) for site, a in self.a.items()},
            b={site: torch.cat([b, -other.b[site]], dim=1) for site, b in self.b.items()},
            scaling=self.scaling,
        )


def read_weights(model: Any, name: str = ADAPTER_NAME) -> LoRAWeights:
    """Copy the current adapter weights of a PeftModel, with or without `attach`."""
    layers = lora_layers(model, name)
    scalings = {float(layer.scaling[name]) for layer in layers.values()}
    assert len(scalings) == 1, "the sites have different scalings"
    return LoRAWeights(
        a={site: _copied(layer.lora_A[name].weight) for site, layer in layers.items()},
        b={site: _copied(layer.lora_B[name].weight) for site, layer in layers.items()},
        scaling=scalings.pop(),
    )


def is_transposed(model: Any) -> bool:
    """Return whether the sites of a PeftModel store transposed weights, as GPT-2's Conv1D does."""
    return any(isinstance(layer.get_base_layer(), Conv1D) for layer in lora_layers(model).values())


def task_type_of(model: Any) -> str | None:
    """Return the `task_type` that PEFT needs to generate with an encoder-decoder model; None for others."""
    writes = is_encoder_decoder(model) and model.get_output_embeddings() is not None
    return "SEQ_2_SEQ_LM" if writes else None


def add_adapter(model: Any, name: str, weights: LoRAWeights) -> None:
    """Add an ordinary adapter with these weights to a PeftModel; the active adapter does not change.

    Ranks may differ between sites. PEFT's `adapter_names` then selects an adapter for each row of a batch.
    """
    model.add_adapter(name, lora_config(weights))
    for site, layer in lora_layers(model, name).items():
        device = module_device(layer.get_base_layer())
        layer.lora_A[name] = plain_linear(weights.a[site].to(device))
        layer.lora_B[name] = plain_linear(weights.b[site].to(device))
        layer.scaling[name] = weights.scaling


def lora_config(weights: LoRAWeights, **more: Any) -> LoraConfig:
    """Return PEFT's configuration of an adapter with these weights."""
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
