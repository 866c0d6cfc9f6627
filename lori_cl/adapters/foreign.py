"""Adapters that were made elsewhere: a PEFT LoRA folder, or a published LoRI adapter with its mask."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lori_cl.adapters.lora_weights import LoRAWeights
from lori_cl.adapters.sparse_adapter import PEFT_PREFIX
from lori_cl.errors import InputError

UNSUPPORTED = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias")
"""Settings of a PEFT LoRA under which ΔW is more than alpha / r · B A at every site."""


@dataclass(frozen=True)
class ForeignAdapter:
    """What stands in the folder."""

    weights: LoRAWeights
    masks: Mapping[str, Bool[Tensor, "out r"]]
    """Per site, the cells of B that are its own: its mask where there is one, or else what is not zero."""
    base: str | None
    """The base model that the folder names."""
    rank: int
    alpha: float


def read_foreign(folder: Path, mask_file: Path | None = None) -> ForeignAdapter:
    """Read an adapter without running anything that stands in its files.

    `mask_file` is what LoRI's published code saves: a dict from parameter names to bool tensors, `.pt` (read
    weights-only) or safetensors.
    Raises: InputError, if the folder holds no LoRA, or one that this project cannot represent exactly.
    """
    config = _config(folder)
    tensors = _tensors(_only(folder, "adapter_model"))
    a, b = _by_site(tensors, "lora_A"), _by_site(tensors, "lora_B")
    if not a or a.keys() != b.keys():
        raise InputError(f"{folder}: its weights are no LoRA: {len(a)} lora_A and {len(b)} lora_B tensors")
    _check_finite(folder, {**a, **b})
    nonzero = {site: each != 0 for site, each in b.items()}
    masks = nonzero if mask_file is None else _masks(mask_file, nonzero)
    if not any(bool(mask.any()) for mask in nonzero.values()):
        raise InputError(f"{folder}: every cell of B is zero: there is nothing to import")
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    weights = LoRAWeights(a, b, alpha / rank)
    return ForeignAdapter(weights, masks, config.get("base_model_name_or_path"), rank, alpha)


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}; name a folder that PEFT has saved") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else "nothing"
        raise InputError(f"{file} describes {kind}; only a LORA can be imported")
    strange = [name for name in UNSUPPORTED if config.get(name)]
    if strange or config.get("bias", "none") != "none":
        named = ", ".join([*strange, *(["bias"] if config.get("bias", "none") != "none" else [])])
        raise InputError(f"{file} sets {named}, which is more than alpha / r · B A: it cannot be imported")
    for field in ("r", "lora_alpha"):
        if not isinstance(config.get(field), int | float) or config[field] <= 0:
            raise InputError(f"{file}: {field} is {config.get(field)!r}; it should be a number above 0")
    return config


def _only(folder: Path, stem: str) -> Path:
    found = [folder / f"{stem}.{suffix}" for suffix in ("safetensors", "bin")]
    for file in found:
        if file.is_file():
            return file
    raise InputError(f"{folder} holds neither {found[0].name} nor {found[1].name}")


def _tensors(file: Path) -> dict[str, Tensor]:
    """Tensors by name; a pickle is read weights-only."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise InputError(f"{file} holds something else than tensors by name")
    return loaded


def _by_site(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Float32 by site; names end in `.lora_A.weight`, or in `.lora_A.default.weight` as inside a model."""
    found = {}
    for name, tensor in tensors.items():
        site, separator, rest = name.removeprefix(PEFT_PREFIX).partition(f".{part}.")
        if separator and rest.endswith("weight"):
            found[site] = tensor.float()
    return found


def _masks(file: Path, nonzero: Mapping[str, Tensor]) -> dict[str, Tensor]:
    masks = {site: mask != 0 for site, mask in _by_site(_tensors(file), "lora_B").items()}
    for site, cells in nonzero.items():
        if site not in masks or masks[site].shape != cells.shape:
            raise InputError(f"{file} has no mask of shape {tuple(cells.shape)} for {site}")
        outside = int((cells & ~masks[site]).sum())
        if outside:
            raise InputError(f"{file}: {outside:,} cells of {site} outside the mask are not zero")
    return {site: masks[site] for site in nonzero}


def _check_finite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    for site, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{folder}: a weight of {site} is not a finite number")
