"""Adapters that were made elsewhere: a PEFT LoRA folder, or a published LoRI adapter with its mask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from peft import LoraConfig
from torch import Tensor

from lori_cl.adapters.foreign_files import read_json, read_metadata, read_tensors
from lori_cl.adapters.lora_model import PEFT_PREFIX
from lori_cl.adapters.lora_weights import LoRAWeights
from lori_cl.errors import InputError

READ = (
    *("peft_type", "r", "lora_alpha", "base_model_name_or_path", "init_lora_weights"),
    "modules_to_save",  # a classifier's head, or a part of the base model, which is refused
)
"""Settings of a PEFT LoRA that say what it is."""

HARMLESS = (
    *("peft_version", "task_type", "auto_mapping", "revision", "inference_mode", "runtime_config"),
    # Which layers were adapted: the weights name them.
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying"),
    *("lora_dropout", "fan_in_fan_out"),  # training alone; how the base model holds its weights
    # Of these, nothing is read unless another setting asks for it, and that one is refused.
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core", "qalora_group_size"),
)
"""Settings that change nothing in ΔW = alpha / r · B A. All others, those of a PEFT to come too, may."""

INITIALISATIONS = (None, True, False, "gaussian", "orthogonal", "eva", "mica")
"""Those that leave the base model alone; the others take out of its weights what they put into A and B."""

UNSET = LoraConfig().to_dict()
"""Every setting as it is where nobody sets it."""

MAX_RANK = 16_384
"""As `adapter.rank` has it."""
MAX_ALPHA = 1e9
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MASK_TYPES = (torch.bool, torch.uint8, *FLOATS)


@dataclass(frozen=True)
class ForeignAdapter:
    """What stands in the folder."""

    weights: LoRAWeights
    masks: Mapping[str, Bool[Tensor, "out r"]]
    """Per site, the cells of B that are its own: its mask where there is one, or else what is not zero."""
    base: str | None
    """The base model that the folder names."""
    base_digest: str | None
    """The digest of the base model, where lori_cl wrote the folder."""
    rank: int
    alpha: float
    saved: tuple[str, ...] = ()
    """Parameters that the folder holds as a whole, such as a classifier's head (PEFT's `modules_to_save`)."""

    def renamed(self, names: Mapping[str, str]) -> ForeignAdapter:
        """The same with new names for these sites; the others are left out."""
        a, b, masks = (
            {names[site]: tensor for site, tensor in of.items() if site in names}
            for of in (self.weights.a, self.weights.b, self.masks)
        )
        return replace(self, weights=replace(self.weights, a=a, b=b), masks=masks)

    def without(self, sites: Collection[str]) -> ForeignAdapter:
        """The same without these sites."""
        return self.renamed({site: site for site in self.weights.b if site not in sites})


def read_foreign(folder: Path, mask_file: Path | None = None) -> ForeignAdapter:
    """Read an adapter without running anything that stands in its files.

    `mask_file` is what LoRI's published code saves: a dict from parameter names to bool tensors, `.pt` (read
    weights-only) or safetensors.
    Raises: InputError, if the folder holds no LoRA, or one that this project cannot represent exactly.
    """
    config = _config(folder)
    rank, alpha = config["r"], float(config["lora_alpha"])
    file = _only(folder, "adapter_model")
    tensors, saved = _without_saved(read_tensors(file), config.get("modules_to_save") or ())
    a, b = _factors(folder, tensors, rank)
    _check_finite(folder, {**a, **b})
    nonzero = {site: each != 0 for site, each in b.items()}
    masks = nonzero if mask_file is None else _masks(mask_file, nonzero)
    if not any(bool(mask.any()) for mask in nonzero.values()):
        raise InputError(f"{folder}: every cell of B is zero: there is nothing to import")
    weights = LoRAWeights(a, b, alpha / rank)
    base = config.get("base_model_name_or_path")
    return ForeignAdapter(weights, masks, base, _base_digest(file), rank, alpha, saved)


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "adapter_config.json"
    config = read_json(file)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else "nothing"
        raise InputError(f"{file} describes {kind}; only a LORA can be imported")
    _check_plain(file, config)
    rank, alpha, base = config.get("r"), config.get("lora_alpha"), config.get("base_model_name_or_path")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank <= MAX_RANK:
        raise InputError(f"{file}: r is {rank!r}; it should be a whole number from 1 to {MAX_RANK:,}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= MAX_ALPHA:
        raise InputError(
            f"{file}: lora_alpha is {alpha!r}; it should be a number above 0, at most {MAX_ALPHA:g}"
        )
    saved = config.get("modules_to_save")
    if saved is not None and not (isinstance(saved, list) and all(isinstance(each, str) for each in saved)):
        raise InputError(f"{file}: modules_to_save is {str(saved)[:60]!r}; it should be a list of names")
    if base is not None and not (isinstance(base, str) and base.isprintable()):
        raise InputError(f"{file}: base_model_name_or_path is {base!r}, which is no model's name")
    return config


def _check_plain(file: Path, config: Mapping[str, Any]) -> None:
    """Make sure that ΔW is alpha / r · B A on the base model as it is published.

    Raises: InputError, with the settings that make it another one.
    """
    strange = [name for name in config if name not in (*READ, *HARMLESS) and _is_set(name, config[name])]
    if strange:
        raise InputError(
            f"{file} sets {', '.join(strange)}, which is more than alpha / r · B A: it cannot be imported"
        )
    begun = config.get("init_lora_weights")
    if (begun.lower() if isinstance(begun, str) else begun) not in INITIALISATIONS:
        raise InputError(
            f"{file} sets init_lora_weights to {begun!r}, which may have changed the base model's weights; "
            "save it with PEFT's path_initial_model_for_weight_conversion, as a LoRA of the model as it was"
        )


def _is_set(name: str, value: Any) -> bool:
    """Whether a setting is another one than where nobody sets it."""
    return value is not None and value is not False and value != UNSET.get(name)


def _only(folder: Path, stem: str) -> Path:
    found = [folder / f"{stem}.{suffix}" for suffix in ("safetensors", "bin")]
    for file in found:
        if file.is_file():
            return file
    raise InputError(f"{folder} holds neither {found[0].name} nor {found[1].name}")


def _factors(folder: Path, tensors: Mapping[str, Tensor], rank: int) -> tuple[dict[str, Tensor], ...]:
    """A (r, d_in) and B (out, r) by site, float32."""
    a, b = _by_site(tensors, "lora_A"), _by_site(tensors, "lora_B")
    if not a or a.keys() != b.keys() or len(tensors) != len(a) + len(b):
        counts = f"{len(a)} lora_A and {len(b)} lora_B of {len(tensors)} tensors"
        raise InputError(f"{folder}: its weights are no LoRA: {counts}")
    for site in a:
        for part, tensor, side in (("lora_A", a[site], 0), ("lora_B", b[site], 1)):
            if tensor.dtype not in FLOATS or tensor.dim() != 2 or tensor.shape[side] != rank:
                found = f"{tuple(tensor.shape)} of {tensor.dtype}"
                raise InputError(
                    f"{folder}: the {part} of {site} is {found}, which is no factor of rank {rank}"
                )
    return tuple({site: tensor.float() for site, tensor in part.items()} for part in (a, b))


def _without_saved(
    tensors: Mapping[str, Tensor], modules: Sequence[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of the LoRA, and the names of those that belong to modules saved as a whole."""
    names = [name for name in tensors if not set(name.split(".")).isdisjoint(modules)]
    saved = [name for name in names if ".lora_A." not in name and ".lora_B." not in name]
    kept = {name: tensor for name, tensor in tensors.items() if name not in saved}
    return kept, tuple(name.removeprefix(PEFT_PREFIX) for name in saved)


def _by_site(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """By site; names end in `.lora_A.weight`, or in `.lora_A.default.weight` as inside a model."""
    found = {}
    for name, tensor in tensors.items():
        site, separator, rest = name.removeprefix(PEFT_PREFIX).partition(f".{part}.")
        if separator and rest.endswith("weight"):
            found[site] = tensor
    return found


def _masks(file: Path, nonzero: Mapping[str, Tensor]) -> dict[str, Tensor]:
    given = _by_site(read_tensors(file), "lora_B")
    masks = {site: mask != 0 for site, mask in given.items() if mask.dtype in MASK_TYPES}
    for site, cells in nonzero.items():
        if site not in masks or masks[site].shape != cells.shape:
            raise InputError(f"{file} has no mask of shape {tuple(cells.shape)} for {site}")
        outside = int((cells & ~masks[site]).sum())
        if outside:
            raise InputError(f"{file}: {outside:,} cells of {site} outside the mask are not zero")
    return {site: masks[site] for site in nonzero}


def _base_digest(file: Path) -> str | None:
    """What lori_cl says of the base model beside the weights that it writes."""
    told = read_metadata(file) if file.suffix == ".safetensors" else None
    base = told.get("base") if isinstance(told, dict) else None
    digest = base.get("digest") if isinstance(base, dict) else None
    return digest if isinstance(digest, str) else None


def _check_finite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    for site, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{folder}: a weight of {site} is not a finite number")
