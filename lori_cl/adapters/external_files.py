"""Read untrusted files without executing code from them and without blocking."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lori_cl.adapters.peft_files import METADATA_KEY
from lori_cl.errors import InputError, first_line
from lori_cl.strict_json import parse_json

MAX_JSON_BYTES = 2**20
"""Maximum size of adapter_config.json; a typical one has 1,000 bytes."""

NOT_WEIGHTS_ONLY = "it contains more than tensors, which could run code; save it as safetensors"
"""Replaces torch's message, which explains how to run the code anyway."""


def read_json(file: Path) -> Any:
    """Read a small JSON file.

    Raises: InputError, if it is missing, too large or not valid JSON.
    """
    try:
        if not file.is_file():
            raise InputError(f"{file} does not exist or is not a file; name a folder saved by PEFT")
        if file.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{file} has more than {MAX_JSON_BYTES:,} bytes; name a folder saved by PEFT")
        return parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}; name a folder saved by PEFT") from None


def read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Read tensors by name from safetensors or, weights-only, from a file written by torch.save.

    Raises: InputError, if the file has another format, or is smaller than its tensors.
    """
    loaded = _loaded(file)
    if not isinstance(loaded, dict) or not all(map(_is_plain, loaded, loaded.values())):
        raise InputError(f"{file} contains something other than tensors by name")
    declared = sum(tensor.numel() * tensor.element_size() for tensor in loaded.values())
    if declared > file.stat().st_size:  # a stride of 0 expands a few bytes to a huge tensor
        raise InputError(f"{file} declares {declared:,} bytes and has {file.stat().st_size:,}")
    return loaded


def read_metadata(file: Path) -> Any:
    """Read the metadata that lori_cl stored in a safetensors file; None if there is none.

    Raises: InputError, if it cannot be read.
    """
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY)
        return None if text is None else parse_json(text)
    except Exception as error:  # as in _loaded
        raise InputError(f"{file} cannot be read: {first_line(error)}") from None


def _loaded(file: Path) -> Any:
    if not file.is_file():
        raise InputError(f"{file} does not exist or is not a file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        _check_archive(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # any error that an untrusted file can cause
        why = NOT_WEIGHTS_ONLY if type(error).__name__ == "UnpicklingError" else first_line(error)
        raise InputError(f"{file} cannot be read: {why}") from None


def _check_archive(file: Path) -> None:
    """Check that a file has the format of torch.save: an uncompressed archive."""
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file} is not in the format of torch.save since 1.6; save it as safetensors")
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(f"{file} is compressed, unlike files of torch.save; save it as safetensors")
        declared = sum(entry.file_size for entry in archive.infolist())
        if declared > file.stat().st_size:  # entries that share their bytes
            raise InputError(f"{file} declares {declared:,} bytes and has {file.stat().st_size:,}")


def _is_plain(name: Any, tensor: Any) -> bool:
    """Return whether this is a name and an ordinary dense tensor on the CPU."""
    return (
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
    )
