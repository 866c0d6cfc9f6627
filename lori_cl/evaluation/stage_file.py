"""A stage's artifact: the tensors of its method and of its task's head in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from lori_cl.adapters import METADATA_KEY
from lori_cl.digest import canonical_json
from lori_cl.errors import ArtifactDamaged, first_line
from lori_cl.strict_json import parse_json

HEAD = "head/"


def stage_bytes(tensors: Mapping[str, Tensor], head: nn.Module | None, metadata: Mapping[str, Any]) -> bytes:
    """Return the file's content; equal inputs give equal bytes."""
    of_head = {f"{HEAD}{key}": t.detach().cpu() for key, t in head.state_dict().items()} if head else {}
    content = {key: tensor.contiguous() for key, tensor in {**tensors, **of_head}.items()}
    return safetensors_torch.save(content, {METADATA_KEY: canonical_json(metadata)})


def read_stage(content: bytes) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return (the method's tensors, the head's state dict).

    Raises: ArtifactDamaged, if the content is not a safetensors file.
    """
    tensors = read_tensors(content, "a stage's file")
    head = {key.removeprefix(HEAD): t for key, t in tensors.items() if key.startswith(HEAD)}
    return {key: t for key, t in tensors.items() if not key.startswith(HEAD)}, head


def read_tensors(content: bytes, what: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises: ArtifactDamaged, if the content is not a safetensors file.
    """
    try:
        return safetensors_torch.load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:  # or an unknown dtype
        raise ArtifactDamaged(f"{what} is not a safetensors file: {first_line(error)}") from None


def read_metadata(content: bytes) -> dict[str, Any]:
    """Return the metadata that `stage_bytes` wrote.

    Raises: ArtifactDamaged, if there is none or it is invalid.
    """
    header_bytes = int.from_bytes(content[:8], "little")
    try:
        header = parse_json(content[8 : 8 + header_bytes].decode())
        metadata = parse_json(header["__metadata__"][METADATA_KEY])
    except (ValueError, LookupError, TypeError) as error:
        raise ArtifactDamaged(f"a stage's file has no valid metadata: {first_line(error)}") from None
    if not isinstance(metadata, dict):
        raise ArtifactDamaged(f"a stage's file has metadata {str(metadata)[:60]}, which is not a JSON object")
    return metadata


def head_mismatch(head: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Describe why the state dict does not fit the head; None if it fits."""
    wanted = head.state_dict()
    if wanted.keys() != state.keys():
        name = min(wanted.keys() ^ state.keys())
        return f"'{name}' is in only one of the file and the task's head"
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape or tensor.dtype != wanted[key].dtype:
            found, expected = (f"{tuple(t.shape)} of {t.dtype}" for t in (tensor, wanted[key]))
            return f"'{key}' is {found}, but the task's head has {expected}"
        if not bool(tensor.isfinite().all()):
            return f"a value of '{key}' is not finite"
    return None
