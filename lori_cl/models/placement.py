"""The devices that hold a base model: one, or several with accelerate's device maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lori_cl.errors import ModelError
from lori_cl.model_traits import device_map_of, is_quantized
from lori_cl.runtime.distributed import device, processes
from lori_cl.spec import ModelSpec

OFFLOADED = ("cpu", "disk")
"""Places of weights that accelerate loads to another device for their computations only."""


def placement_options(spec: ModelSpec) -> dict[str, Any]:
    """Return the options of `from_pretrained` that spread a model as `spec.device_map` says.

    Raises: ModelError, if there are several processes, or the map names a GPU that does not exist.
    """
    if spec.device_map is None:
        return {}
    if processes() > 1:
        raise ModelError(
            "model.device_map spreads one model over the devices of one process, and there are "
            f"{processes()} processes; start one process, or remove model.device_map"
        )
    if isinstance(spec.device_map, str):
        limits = spec.max_memory
        sizes = {key if key == "cpu" else int(key): size for key, size in limits.items()} if limits else None
        _check_gpus("max_memory", sizes or {})
        return {"device_map": spec.device_map, "max_memory": sizes}
    _check_gpus("device_map", spec.device_map.values())
    _check_uses_device(spec.device_map)
    return {"device_map": dict(spec.device_map)}


def place(spec: ModelSpec, model: Any) -> None:
    """Move a loaded model to this process's device, unless loading has placed it.

    Raises: ModelError, if all of it is on another device.
    """
    if spec.device_map is not None:
        _check_uses_device(device_map_of(model) or {"": next(model.parameters()).device})
    elif spec.quantization is None and not is_quantized(model.config):
        model.to(device())


def weights_of(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and buffers by name, sorted; those that accelerate offloads are read one by one."""
    for name, tensor in sorted(model.state_dict().items()):
        yield name, _offloaded(model, name) if tensor.is_meta else tensor


def _offloaded(model: Any, name: str) -> Tensor:
    """Return a weight from where the hooks of its module load it."""
    owner, _, attribute = name.rpartition(".")
    tensor: Tensor = model.get_submodule(owner)._hf_hook.weights_map[attribute]
    return tensor


def _check_gpus(field: str, places: Any) -> None:
    """Check that every GPU of a map exists.

    Raises: ModelError.
    """
    count = torch.cuda.device_count()
    missing = [each for each in places if isinstance(each, int) and each >= count]
    if missing:
        raise ModelError(
            f"model.{field} names GPU {missing[0]}, and this process has {count} GPUs; use numbers below "
            f"{count}, cpu or disk"
            if count
            else f"model.{field} names GPU {missing[0]}, and this process has no GPU; use cpu or disk"
        )


def _check_uses_device(device_map: Any) -> None:
    """Check that a model on one device is on this process's.

    Raises: ModelError.
    """
    found = {str(each) for each in device_map.values()}
    ours = device()
    if ours.type == "cuda":
        on_gpus = found - set(OFFLOADED)
        own = {str(ours), str(ours.index or 0)}
        if not on_gpus:
            raise ModelError(
                "model.device_map places the whole model on the CPU or disk, and this process computes on "
                f"{ours}; name a GPU for a part of it, or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
            )
        if found == on_gpus and len(on_gpus) == 1 and not on_gpus & own:
            raise ModelError(
                f"model.device_map places the whole model on GPU {on_gpus.pop()}, and this process computes "
                f"on {ours}; remove model.device_map, and set CUDA_VISIBLE_DEVICES to that GPU"
            )
