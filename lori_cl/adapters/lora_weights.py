"""An adapter as plain numbers: one A and one B a site, and the scale that they act with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters.lora_model import ADAPTER_NAME
from lori_cl.adapters.sparse_adapter import lora_layers


@dataclass(frozen=True)
class LoRAWeights:
    """ΔW = scaling · B A at every site; float32 on the CPU."""

    a: Mapping[str, Float[Tensor, "r d_in"]]
    b: Mapping[str, Float[Tensor, "out r"]]
    scaling: float

    def delta(self, site: str) -> Float[Tensor, "out d_in"]:
        """ΔW at a site."""
        delta: Tensor = self.scaling * (self.b[site] @ self.a[site])
        return delta


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


def _copied(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", copy=True).float()
