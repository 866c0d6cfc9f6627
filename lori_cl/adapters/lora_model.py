"""An ordinary PEFT LoRA on the base model, with all relevant settings explicit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

from lori_cl.adapters.site_selection import select_sites
from lori_cl.errors import TargetError, first_line
from lori_cl.spec import AdapterSpec

ADAPTER_NAME = "default"
PEFT_PREFIX = "base_model.model."
"""Prefix that PEFT adds to the names of a model's modules."""


def lora_model(base: nn.Module, spec: AdapterSpec, sites: Sequence[str] | None = None) -> Any:
    """Wrap the base model in a PeftModel with one LoRA adapter; the base weights are frozen.

    `sites` are the modules that `select_sites` chose; None selects them here.
    Raises: TargetError, if `spec.targets` names anything other than Linear layers inside the model.
    """
    names = list(sites if sites is not None else select_sites(base, spec.targets).sites)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules=names,
        lora_dropout=0.0,  # dropout would store x for backward, with width d_in instead of r
        bias="none",
    )
    try:
        model = get_peft_model(base, config, adapter_name=ADAPTER_NAME)
    except ValueError as error:
        raise TargetError(f"adapter.targets: {first_line(error)}") from error
    _check_layers(model, names, spec.rank)
    return model


def _check_layers(model: Any, sites: Sequence[str], rank: int) -> None:
    """Check that PEFT adapted exactly these sites, each with an A and a B of this rank.

    Raises: TargetError, naming the first site that differs.
    """
    found = {
        path.removeprefix(PEFT_PREFIX): (layer.lora_A[ADAPTER_NAME], layer.lora_B[ADAPTER_NAME])
        for path, layer in model.named_modules()
        if isinstance(layer, LoraLayer) and ADAPTER_NAME in layer.lora_A
    }
    for site in sorted(found.keys() ^ set(sites)):
        what = "adapts" if site in found else "does not adapt"
        raise TargetError(f"adapter.targets: PEFT {what} '{site}', unlike the selection; set adapter.targets")
    for site, (a, b) in found.items():
        ranks = (a.weight.shape[0], b.weight.shape[1])
        if ranks != (rank, rank):
            raise TargetError(
                f"adapter.targets: PEFT gives '{site}' an A and a B of ranks {ranks}, but adapter.rank is "
                f"{rank}; remove it from adapter.targets"
            )


def alpha_for(scaling: float, rank: int) -> float:
    """Return the alpha with alpha / rank == scaling, as an int if possible.

    If no float64 gives this exactly, return the nearest. The difference is not visible in float32.
    """
    alpha = scaling * rank
    candidates = (alpha, math.nextafter(alpha, math.inf), math.nextafter(alpha, -math.inf))
    exact = next((each for each in candidates if each / rank == scaling), alpha)
    return int(exact) if exact.is_integer() else exact
