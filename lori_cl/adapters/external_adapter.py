"""External adapters: a PEFT LoRA folder, or a published LoRI adapter with its mask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from peft import LoraConfig
from torch import Tensor

from lori_cl.adapters.external_files import read_json, read_metadata, read_tensors
from lori_cl.adapters.lora_model import PEFT_PREFIX
from lori_cl.adapters.lora_weights import LoRAWeights
from lori_cl.errors import InputError

READ = (
    *("peft_type", "r", "lora_alpha", "base_model_name_or_path", "init_lora_weights"),
    "modules_to_save",  # a classification head, or a part of the base model, which is refused
)
"""Settings of a PEFT LoRA that are read."""

HARMLESS = (
    *("peft_version", "task_type", "auto_mapping", "revision", "inference_mode", "runtime_config"),
    # Which layers are adapted: the names of the weights show them.
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying"),
    *("lora_dropout", "fan_in_fan_out"),  # training only; layout of the base weights
    # Used only together with another setting, which is refused.
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core", "qalora_group_size"),
)
"""Settings that do not change ΔW = alpha / r · B A. All others may, including new ones of PEFT."""

INITIALISATIONS = (None, True, False, "gaussian", "orthogonal", "eva", "mica")
"""Values that keep the base weights. The others subtract the initial B A from the base weights."""

UNSET = LoraConfig().to_dict()
"""Default value of every setting."""

MAX_RANK = 16_384
"""Same limit as for `adapter.rank`."""
MAX_ALPHA = 1e9
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MASK_TYPES = (torch.bool, torch.uint8, *FLOATS)


@dataclass(frozen=True)
class ExternalAdapter:
    """The contents of an adapter folder."""

    weights: LoRAWeights
    masks: Mapping[str, Bool[Tensor, "out r"]]
    """Per site, the adapter's cells of B: its mask if there is one, otherwise its non-zero cells."""
    base: str | None
    """The base model named in the folder."""
    base_digest: str | None
    """Digest of the base model, if lori_cl wrote the folder."""
    rank: int
    alpha: float
    saved: tuple[str, ...] = ()
    """Fully saved parameters, such as a classification head (PEFT's `modules_to_save`)."""

    def renamed(self, names: Mapping[str, str]) -> ExternalAdapter:
        """Return the adapter with these sites renamed; other sites are dropped."""
        a, b, masks = (
            {names[site]: tensor for site, tensor in of.items() if site in names}
            for of in (self.weights.a, self.weights.b, self.masks)
        )
        return replace(self, weights=replace(self.weights, a=a, b=b), masks=masks)

    def without(self, sites: Collection[str]) -> ExternalAdapter:
        """Return the adapter without these sites."""
        return self.renamed({site: site for site in self.weights.b if site not in sites})


def read_external_adapter(folder: Path, mask_file: Path | None = None) -> ExternalAdapter:
    """Read an adapter without executing code from its files.

    `mask_file` has the format of LoRI's published code: a dict from parameter names to bool tensors, as
    `.pt` (loaded weights-only) or safetensors.
    Raises: InputError, if the folder holds no LoRA, or one that lori_cl cannot represent exactly.
    """
    config = _config(folder)
    rank, alpha = config["r"], float(config["lora_alpha"])
    file = _find_file(folder, "adapter_model")
    tensors, saved = _split_saved_modules(read_tensors(file), config.get("modules_to_save") or ())
    a, b = _factors(folder, tensors, rank)
    _check_finite(folder, {**a, **b})
    nonzero = {site: each != 0 for site, each in b.items()}
    masks = nonzero if mask_file is None else _masks(mask_file, nonzero)
    if not any(bool(mask.any()) for mask in nonzero.values()):
        raise InputError(f"{folder}: every cell of B is zero; there is nothing to import")
    weights = LoRAWeights(a, b, alpha / rank)
    base = config.get("base_model_name_or_path")
    return ExternalAdapter(weights, masks, base, _base_digest(file), rank, alpha, saved)


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "adapter_config.json"
    config = read_json(file)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else "nothing"
        raise InputError(f"{file} describes {kind}; only LORA can be imported")
    _check_plain(file, config)
    rank, alpha, base = config.get("r"), config.get("lora_alpha"), config.get("base_model_name_or_path")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank <= MAX_RANK:
        raise InputError(f"{file}: r is {rank!r}; it must be an integer from 1 to {MAX_RANK:,}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= MAX_ALPHA:
        raise InputError(
            f"{file}: lora_alpha is {alpha!r}; it must be a number above 0 and at most {MAX_ALPHA:g}"
        )
    saved = config.get("modules_to_save")
    if saved is not None and not (isinstance(saved, list) and all(isinstance(each, str) for each in saved)):
        raise InputError(f"{file}: modules_to_save is {str(saved)[:60]!r}; it must be a list of names")
    if base is not None and not (isinstance(base, str) and base.isprintable()):
        raise InputError(f"{file}: base_model_name_or_path is {base!r}; it must be a model name")
    return config


def _check_plain(file: Path, config: Mapping[str, Any]) -> None:
    """Check that ΔW is alpha / r · B A on the unchanged base model.

    Raises: InputError, with the settings that change it.
    """
    unsupported = [name for name in config if name not in (*READ, *HARMLESS) and _is_set(name, config[name])]
    if unsupported:
        raise InputError(
            f"{file} sets {', '.join(unsupported)}; only an update of alpha / r · B A can be imported"
        )
    initial = config.get("init_lora_weights")
    if (initial.lower() if isinstance(initial, str) else initial) not in INITIALISATIONS:
        raise InputError(
            f"{file} sets init_lora_weights to {initial!r}, which may have changed the base model's weights; "
            "save it with PEFT's path_initial_model_for_weight_conversion, as a LoRA of the unchanged model"
        )


def _is_set(name: str, value: Any) -> bool:
    """Return whether a setting differs from its default."""
    return value is not None and value is not False and value != UNSET.get(name)


def _find_file(folder: Path, stem: str) -> Path:
    candidates = [folder / f"{stem}.{suffix}" for suffix in ("safetensors", "bin")]
    for file in candidates:
        if file.is_file():
            return file
    raise InputError(f"{folder} contains neither {candidates[0].name} nor {candidates[1].name}")


def _factors(folder: Path, tensors: Mapping[str, Tensor], rank: int) -> tuple[dict[str, Tensor], ...]:
    """Return A (r, d_in) and B (out, r) by site, float32."""
    a, b = _by_site(tensors, "lora_A"), _by_site(tensors, "lora_B")
    if not a or a.keys() != b.keys() or len(tensors) != len(a) + len(b):
        counts = f"{len(a)} lora_A and {len(b)} lora_B of {len(tensors)} tensors"
        raise InputError(f"{folder}: the weights are not a LoRA: {counts}")
    for site in a:
        for part, tensor, side in (("lora_A", a[site], 0), ("lora_B", b[site], 1)):
            if tensor.dtype not in FLOATS or tensor.dim() != 2 or tensor.shape[side] != rank:
                found = f"{tuple(tensor.shape)} of {tensor.dtype}"
                raise InputError(
                    f"{folder}: the {part} of {site} is {found}; it must be a factor of rank {rank}"
                )
    return tuple({site: tensor.float() for site, tensor in part.items()} for part in (a, b))


def _split_saved_modules(
    tensors: Mapping[str, Tensor], modules: Sequence[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the LoRA tensors, and the names of tensors of fully saved modules."""
    names = [name for name in tensors if not set(name.split(".")).isdisjoint(modules)]
    saved = [name for name in names if ".lora_A." not in name and ".lora_B." not in name]
    lora = {name: tensor for name, tensor in tensors.items() if name not in saved}
    return lora, tuple(name.removeprefix(PEFT_PREFIX) for name in saved)


def _by_site(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return tensors by site. Names end in `.lora_A.weight`, or in `.lora_A.default.weight` as in a model."""
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
    """Return the base model's digest from the metadata, if lori_cl wrote the file."""
    metadata = read_metadata(file) if file.suffix == ".safetensors" else None
    base = metadata.get("base") if isinstance(metadata, dict) else None
    digest = base.get("digest") if isinstance(base, dict) else None
    return digest if isinstance(digest, str) else None


def _check_finite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    for site, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{folder}: a weight of {site} is not a finite number")
