"""Write a base model with an adapter merged into its weights, for loading without PEFT."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lori_cl.adapters import LoRAWeights, new_folder
from lori_cl.errors import InputError, LoriError, first_line
from lori_cl.model_traits import is_quantized
from lori_cl.models.base_model import load_unchanged
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture

CONFIG = "config.json"


def save_merged(folder: Path, spec: ModelSpec, architecture: Architecture, weights: LoRAWeights) -> None:
    """Write the base model with ΔW added at every site, and its tokenizer, atomically.

    The sums are computed in float32 and rounded once to the base model's dtype.
    Raises: InputError, if the base model is quantised, a site shares its weight with another module, or a sum
    is not finite; LoriError, if transformers cannot save the model; WorkspaceUnusable.
    """
    if spec.quantization is not None:
        raise InputError(
            f"the base model is quantised to {spec.quantization.bits} bits (model.quantization), which "
            "cannot hold the sum of its weights and the adapter; export the adapter without merging"
        )
    model, tokenizer = load_unchanged(spec, architecture)
    if is_quantized(model.config):
        raise InputError(
            "the base model is quantised, so its weights cannot hold the sum with the adapter; export the "
            "adapter without merging"
        )
    merge_into(model, weights)
    with new_folder(folder) as temporary:
        try:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        except ValueError as error:  # for example, for a generation_config.json with contradictions
            raise LoriError(f"transformers cannot save the merged model: {first_line(error)}") from error
        for file in temporary.glob("*.safetensors"):  # the library creates files for their owner only
            shutil.copymode(temporary / CONFIG, file)


@torch.no_grad()
def merge_into(model: nn.Module, weights: LoRAWeights) -> None:
    """Add ΔW to the weight of every site, in place.

    Raises: InputError, if a site shares its weight with another module, or a sum is not finite.
    """
    names = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    for site in weights.a:
        module: Any = model.get_submodule(site)
        if names[id(module.weight)] > 1:
            raise InputError(
                f"{site} shares its weight with another module, so the adapter cannot be merged into the "
                "base model; export it without merging"
            )
        if not module.weight.is_floating_point():
            raise InputError(f"{site} has quantised weights; export the adapter without merging")
        delta = weights.delta(site).to(module.weight.device)
        merged = module.weight.float() + (delta.T if isinstance(module, Conv1D) else delta)
        module.weight.copy_(merged)
        if not bool(module.weight.isfinite().all()):
            dtype = str(module.weight.dtype).removeprefix("torch.")
            raise InputError(
                f"the merged weight of {site} is not finite in {dtype}; export it without merging"
            )
