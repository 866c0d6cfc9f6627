"""Write an adapter folder that PEFT and LoRA servers can load."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
"""The only key: with several, their order in safetensors files varies between processes."""


def save_peft(
    folder: Path,
    weights: LoRAWeights,
    base: str,
    revision: str | None,
    metadata: Mapping[str, Any],
    *,
    fan_in_fan_out: bool = False,
    task_type: str | None = None,
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` atomically.

    `base` is the base model's path or hub id. Set `fan_in_fan_out` if the sites are Conv1D, as in GPT-2.
    `task_type` selects the class with which PEFT wraps the base model.
    Equal inputs give equal bytes.
    Raises: InputError, if the folder exists and is not empty; WorkspaceUnusable, if it cannot be written.
    """
    check_writable(folder)
    config = lora_config(
        weights,
        fan_in_fan_out=fan_in_fan_out,
        task_type=task_type,
        inference_mode=True,
        base_model_name_or_path=base,
        revision=revision,
    )
    with new_folder(folder) as temporary:
        (temporary / CONFIG_NAME).write_text(_config_json(config))
        save_tensors(temporary / CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, _tensors(weights), metadata)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, which becomes `folder` if the context ends without an error.

    Raises: WorkspaceUnusable, if it cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        temporary.replace(folder)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise WorkspaceUnusable(f"{folder} cannot be written: {why}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(file: Path, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file next to `file`, with its permissions.

    The safetensors library creates files that only their owner can read.
    """
    written = file.with_name(name)
    save_file(dict(tensors), written, {METADATA_KEY: canonical_json(metadata)})
    shutil.copymode(file, written)


def check_writable(folder: Path) -> None:
    """Check that writing the folder overwrites nothing.

    Raises: InputError, if it exists and is not empty, is a file, or is a path without a name.
    """
    if not folder.name:
        raise InputError(f"{folder} cannot be replaced by the new folder; name a folder inside it")
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    except OSError as error:
        raise WorkspaceUnusable(f"{folder} cannot be read: {error.strerror}") from error
    what = "is not empty" if folder.is_dir() else "is a file"
    raise InputError(f"{folder} {what}; name a folder that does not exist yet")


def _tensors(weights: LoRAWeights) -> dict[str, Tensor]:
    parts = {"lora_A": weights.a, "lora_B": weights.b}
    return {
        f"{PEFT_PREFIX}{site}.{part}.weight": tensor.contiguous()
        for part, by_site in parts.items()
        for site, tensor in by_site.items()
    }


def _config_json(config: LoraConfig) -> str:
    """Return the JSON that PEFT writes, with sorted sets: their order varies between processes."""
    record = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    return json.dumps(record, indent=2, sort_keys=True)
