"""The size of a model's stored weights, from the headers of its files."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open

from lori_cl.models.gguf import gguf_size
from lori_cl.models.location import ModelLocation, find_file
from lori_cl.runtime.distributed import device, is_rank_0, sharding
from lori_cl.runtime.memory import check_fits
from lori_cl.spec import ModelSpec

FLOATS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
"""Bytes of the stored types that are converted to `model.dtype`."""


class WeightsSize(NamedTuple):
    """Size of a model's safetensors files."""

    tensors: int
    bytes: int
    """Size of the files."""
    floats: int
    """Values that are converted to `model.dtype` when they are loaded."""
    other_bytes: int
    """Bytes of all other values, such as quantised weights."""


def weights_files(place: str, revision: str | None) -> list[Path]:
    """Return a model's safetensors files, sorted by name."""
    index = find_file(place, "model.safetensors.index.json", revision)
    names = ["model.safetensors"]
    if index is not None:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    return [file for name in names if (file := find_file(place, name, revision)) is not None]


def weights_size(place: str, revision: str | None) -> WeightsSize:
    """Return the size of a model's safetensors files; zeros if they are unreadable: loading reports it."""
    try:
        files = weights_files(place, revision)
        tensors = floats = float_bytes = 0
        for file in files:
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118 (it is no mapping)
                    part = opened.get_slice(key)
                    tensors += 1
                    if part.get_dtype() in FLOATS:
                        values = prod(part.get_shape())
                        floats += values
                        float_bytes += values * FLOATS[part.get_dtype()]
        size = sum(file.stat().st_size for file in files)
        return WeightsSize(tensors, size, floats, max(size - float_bytes, 0))
    except Exception:
        return WeightsSize(0, 0, 0, 0)


def loaded_bytes(spec: ModelSpec, place: ModelLocation) -> int:
    """Return a lower limit for the memory of a model's weights, once it is loaded."""
    per_value = torch.empty(0, dtype=getattr(torch, spec.dtype)).element_size()
    if place.gguf is not None:
        return gguf_size(spec.path, place.gguf).values * per_value
    size = weights_size(place.repository, spec.revision)
    if spec.quantization is not None:
        return size.floats * spec.quantization.bits // 8 + size.other_bytes
    return size.floats * per_value + size.other_bytes


def check_memory(spec: ModelSpec, place: ModelLocation) -> None:
    """Check, before loading, that the model's weights fit on this process's device.

    A model is loaded to the CPU first, unless it is quantised. A device map can use the disk, too. Only rank
    0 loads a model that is sharded.
    Raises: OutOfMemory, with both numbers.
    """
    sharded = sharding() is not None
    if spec.device_map is not None or (sharded and not is_rank_0()):
        return
    devices = {torch.device("cpu")} if sharded else {torch.device("cpu"), device()}
    if spec.quantization is not None:
        devices = {device()}
    check_fits(f"model.path '{spec.path}' in {spec.dtype}", loaded_bytes(spec, place), devices)
