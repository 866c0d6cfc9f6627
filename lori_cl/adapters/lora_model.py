"""An ordinary PEFT LoRA around the base model, with every choice that matters made explicit."""

from __future__ import annotations

import math
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from lori_cl.adapters.sites import check_targets
from lori_cl.errors import TargetError, first_line
from lori_cl.spec import AdapterSpec

ADAPTER_NAME = "default"


def lora_model(base: nn.Module, spec: AdapterSpec) -> Any:
    """Wrap the base model in a PeftModel with one LoRA adapter; the base weights are frozen.

    Raises: TargetError, if `spec.targets` names anything but Linear layers inside the model.
    """
    if spec.targets != "all-linear":
        check_targets(base, spec.targets)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules=spec.targets if isinstance(spec.targets, str) else list(spec.targets),
        lora_dropout=0.0,  # dropout would keep x for backward again, d_in wide instead of r
        bias="none",
    )
    try:
        return get_peft_model(base, config, adapter_name=ADAPTER_NAME)
    except ValueError as error:
        raise TargetError(f"adapter.targets: {first_line(error)}") from error


def alpha_for(scaling: float, rank: int) -> float:
    """The alpha with alpha / rank == scaling; whole where it can be.

    Where no float64 gives exactly that, the nearest: one float64 step beside it, which float32 does not see.
    """
    alpha = scaling * rank
    near = (alpha, math.nextafter(alpha, math.inf), math.nextafter(alpha, -math.inf))
    exact = next((each for each in near if each / rank == scaling), alpha)
    return int(exact) if exact.is_integer() else exact
