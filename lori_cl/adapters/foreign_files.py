"""Files that somebody else wrote, read so that nothing in them is run and nothing is waited for."""

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
from lori_cl.strict_json import decoded

MAX_JSON_BYTES = 2**20
"""Of adapter_config.json, which has a thousand."""

REFUSED = "it holds something else than tensors, which could run code; save it as safetensors"
"""In the place of torch's own words, which say how to run it all the same."""


def read_json(file: Path) -> Any:
    """The value that stands in a small JSON file.

    Raises: InputError, if there is none.
    """
    try:
        if not file.is_file():
            raise InputError(f"{file} is not there; name a folder that PEFT has saved")
        if file.stat().st_size > MAX_JSON_BYTES:
            raise InputError(
                f"{file} is no file of at most {MAX_JSON_BYTES:,} bytes; name a folder that PEFT has saved"
            )
        return decoded(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}; name a folder that PEFT has saved") from None


def read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Tensors by name; what torch.save wrote is read weights-only.

    Raises: InputError, if the file is none of the two, or holds fewer numbers than its tensors.
    """
    loaded = _loaded(file)
    if not isinstance(loaded, dict) or not all(map(_is_plain, loaded, loaded.values())):
        raise InputError(f"{file} holds something else than tensors by name")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in loaded.values())
    if claimed > file.stat().st_size:  # a stride of 0 makes a few bytes stand for a billion
        raise InputError(f"{file} stands for {claimed:,} bytes and has {file.stat().st_size:,}")
    return loaded


def read_metadata(file: Path) -> Any:
    """What lori_cl wrote beside the tensors of a safetensors file; None where that is nothing.

    Raises: InputError, if it cannot be read.
    """
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY)
        return None if text is None else decoded(text)
    except Exception as error:  # as in _loaded
        raise InputError(f"{file} cannot be read: {first_line(error)}") from None


def _loaded(file: Path) -> Any:
    if not file.is_file():
        raise InputError(f"{file} is no file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        _check_archive(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # whatever the reading of a file that anybody may have written comes upon
        why = REFUSED if type(error).__name__ == "UnpicklingError" else first_line(error)
        raise InputError(f"{file} cannot be read: {why}") from None


def _check_archive(file: Path) -> None:
    """Make sure that a file is as torch.save writes it: an archive, nothing in it compressed."""
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file} is nothing that torch.save has written since 1.6; save it as safetensors")
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(f"{file} is compressed, as torch.save writes nothing; save it as safetensors")
        claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > file.stat().st_size:  # entries that share their bytes
            raise InputError(f"{file} stands for {claimed:,} bytes and has {file.stat().st_size:,}")


def _is_plain(name: Any, tensor: Any) -> bool:
    """Whether it is a name, and an ordinary tensor in memory."""
    return (
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
    )
