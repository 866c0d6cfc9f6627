"""Shard a base model over the launcher's processes with FSDP2 (`torch.distributed.fsdp.fully_shard`).

Only rank 0 loads the weights. They are sent to the other processes layer by layer, so no other process ever
holds more than its parts and one layer. The adapter is attached afterwards: FSDP does not manage it, and
every process holds all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from lori_cl.errors import ModelError
from lori_cl.models.location import ModelLocation
from lori_cl.runtime.distributed import (
    device,
    from_rank_0,
    is_rank_0,
    on_every_process,
    on_rank_0,
    processes,
    sharding,
)
from lori_cl.runtime.sharding import Sharding, check_taken
from lori_cl.spec import ModelSpec

T = TypeVar("T")

Slot = tuple[nn.Module, str]
"""A module and the name of one of its own parameters."""


def check_shardable(spec: ModelSpec, place: ModelLocation) -> None:
    """Check, before it is loaded, that a base model can be sharded if the launcher requests it.

    Raises: ModelError, if it is quantised, loaded from a GGUF file, or spread over devices, or if torch is
    too old; InputError, if the command cannot shard.
    """
    check_taken(os.environ)
    if sharding() is None:
        return
    if "ignored_params" not in signature(fully_shard).parameters:
        raise ModelError(f"sharding a base model needs torch 2.7 or later, and torch is {torch.__version__}")
    if spec.device_map is not None:
        raise ModelError(
            "a base model with model.device_map cannot be sharded; remove model.device_map, or start lori-cl "
            "without FSDP"
        )
    if spec.quantization is not None:
        raise ModelError(
            "a quantised base model cannot be sharded; remove model.quantization, or start lori-cl without "
            "FSDP"
        )
    if place.gguf is not None:
        raise ModelError(
            f"model.path '{spec.path}' is a GGUF file, which cannot be sharded; name a folder of safetensors "
            "files, or start lori-cl without FSDP"
        )


def shard_options() -> dict[str, Any]:
    """Return the options with which this process loads a base model that is sharded afterwards."""
    return {} if sharding() is None or is_rank_0() else {"device_map": "meta"}  # rank 0 sends the weights


def load_everywhere(load: Callable[[], T]) -> T:
    """Load a base model in every process. If it is sharded, an error in one process ends all of them."""
    return load() if sharding() is None else on_every_process(load)


def place_weights(model: Any, place: Callable[[], None], digest: Callable[[], T]) -> T:
    """Place a model, or shard it if the launcher requests it; return the digest of its weights.

    Raises: ModelError, if it cannot be placed or sharded.
    """
    divided = sharding()
    if divided is None:
        place()
        return digest()
    weights = on_rank_0(digest)
    shard_model(model, divided)
    return weights


def shard_model(model: Any, how: Sharding) -> None:
    """Divide the weights of rank 0's model among the processes.

    The other processes have the same model on the meta device. Weights outside the layers are not divided,
    except the token embeddings and the head of a language model; nor are weights that two modules share. The
    model itself must be called before a part of it is.

    Raises: ModelError, if the model has no layers to gather one at a time.
    """
    units = _units(model, how)
    mesh = init_device_mesh(device().type, (processes(),))
    with torch.no_grad():
        _place_buffers(model)
        whole = {_place(slots) for slots in _shared_slots(model)}
        for unit in units:
            for slot in _unplaced(unit, whole):
                _place([slot])
            _shard(unit, mesh, how, whole)
        whole |= {_place([slot]) for slot in _unplaced(model, whole)}
        _shard(model, mesh, how, whole)  # its hooks join those of the units


def sharded_parameters(module: nn.Module) -> list[str]:
    """Return the names of the parameters of which each process holds a part. Gathered ones are freed."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
    return [name for name, parameter in module.named_parameters() if isinstance(parameter, DTensor)]


def _units(model: Any, how: Sharding) -> list[nn.Module]:
    """Return the modules whose weights are gathered together, inner ones first.

    Raises: ModelError, if there are no layers.
    """
    layers = [(name, module) for name, module in model.named_modules() if _is_layer(module, how)]
    if not layers:
        found = f"of class {' or '.join(how.layers)}" if how.layers else "that lori_cl recognises"
        raise ModelError(
            f"a model of type {model.config.model_type} has no layers {found}, so it cannot be sharded; set "
            "fsdp_transformer_layer_cls_to_wrap in the launcher's configuration to the class of its layers"
        )
    inner_first = [module for _, module in sorted(layers, key=lambda found: -found[0].count("."))]
    inside = {part for layer in inner_first for part in layer.modules()}
    tables = (model.get_input_embeddings(), getattr(model, "get_output_embeddings", lambda: None)())
    return [*inner_first, *(table for table in tables if table is not None and table not in inside)]


def _is_layer(module: nn.Module, how: Sharding) -> bool:
    if how.layers:
        return type(module).__name__ in how.layers
    return isinstance(module, GradientCheckpointingLayer)


def _shard(module: Any, mesh: DeviceMesh, how: Sharding, whole: set[nn.Parameter]) -> None:
    """Divide the parameters of a module among the processes, except those in `whole`."""
    fully_shard(module, mesh=mesh, reshard_after_forward=how.reshard, ignored_params=whole)


def _slots(module: nn.Module) -> Iterator[Slot]:
    for part in module.modules():
        yield from ((part, name) for name, parameter in part._parameters.items() if parameter is not None)


def _unplaced(module: nn.Module, whole: set[nn.Parameter]) -> list[Slot]:
    """Return the slots whose weights are only on rank 0."""
    return [
        (part, name)
        for part, name in _slots(module)
        if not isinstance(found := getattr(part, name), DTensor) and found not in whole
    ]


def _shared_slots(model: nn.Module) -> list[Sequence[Slot]]:
    """Return the slots of each parameter that has several."""
    by_parameter: dict[int, list[Slot]] = {}
    for part, name in _slots(model):
        by_parameter.setdefault(id(getattr(part, name)), []).append((part, name))
    return [slots for slots in by_parameter.values() if len(slots) > 1]


def _place(slots: Sequence[Slot]) -> nn.Parameter:
    """Replace the parameter in these slots by rank 0's, on this process's device."""
    part, name = slots[0]
    placed = nn.Parameter(from_rank_0(getattr(part, name)), requires_grad=False)
    for part, name in slots:
        setattr(part, name, placed)
    return placed


def _place_buffers(model: nn.Module) -> None:
    """Replace every buffer by rank 0's: those that no file holds are empty in the other processes."""
    for part in model.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = from_rank_0(buffer)
