"""An adapter as the folder that PEFT and other LoRA servers load."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lori_cl.adapters.lora_model import PEFT_PREFIX
from lori_cl.adapters.lora_weights import LoRAWeights, lora_config
from lori_cl.digest import canonical_json
from lori_cl.errors import InputError, WorkspaceUnusable, first_line

METADATA_KEY = "lori_cl"
"""One key only: safetensors writes several in an order that changes from process to process."""


def save_peft(
    folder: Path,
    weights: LoRAWeights,
    base: str,
    revision: str | None,
    metadata: Mapping[str, Any],
    *,
    fan_in_fan_out: bool = False,
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, both or neither.

    `base` is the base model's path or hub id; `fan_in_fan_out` is for sites that are Conv1D, as in GPT-2.
    Equal inputs give equal bytes.
    Raises: InputError, if the folder is there and not empty; WorkspaceUnusable, if it cannot be written.
    """
    check_writable(folder)
    config = lora_config(
        weights,
        fan_in_fan_out=fan_in_fan_out,
        inference_mode=True,
        base_model_name_or_path=base,
        revision=revision,
    )
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        (part / CONFIG_NAME).write_text(_config_json(config))
        save_beside(part / CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, _tensors(weights), metadata)
        part.replace(folder)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise WorkspaceUnusable(f"{folder} cannot be written: {why}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def save_beside(file: Path, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors into a safetensors file beside another one, for whoever may read that: safetensors lets
    its writer alone read what it writes."""
    written = file.with_name(name)
    save_file(dict(tensors), written, {METADATA_KEY: canonical_json(metadata)})
    shutil.copymode(file, written)


def check_writable(folder: Path) -> None:
    """Make sure that writing the folder would overwrite nothing.

    Raises: InputError, if it is there and not empty, is a file, or has no name to be moved to.
    """
    if not folder.name:
        raise InputError(f"{folder} cannot be replaced by the folder that is written; name one inside it")
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    except OSError as error:
        raise WorkspaceUnusable(f"{folder} cannot be read: {error.strerror}") from error
    what = "is not empty" if folder.is_dir() else "is a file"
    raise InputError(f"{folder} {what}; name a folder that is not there yet")


def _tensors(weights: LoRAWeights) -> dict[str, Tensor]:
    parts = {"lora_A": weights.a, "lora_B": weights.b}
    return {
        f"{PEFT_PREFIX}{site}.{part}.weight": tensor.contiguous()
        for part, by_site in parts.items()
        for site, tensor in by_site.items()
    }


def _config_json(config: LoraConfig) -> str:
    """As PEFT writes it, but sets in order: PEFT's own changes from process to process."""
    record = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    return json.dumps(record, indent=2, sort_keys=True)
