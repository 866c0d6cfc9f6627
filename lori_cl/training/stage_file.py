"""A stage's artifact: what its method and its task's head left behind, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from lori_cl.adapters import METADATA_KEY
from lori_cl.digest import canonical_json
from lori_cl.errors import ArtifactDamaged, first_line
from lori_cl.methods import Learned
from lori_cl.routing import TaskStatistics
from lori_cl.strict_json import decoded

HEAD = "head/"


@dataclass(frozen=True)
class Gathered:
    """What a task's texts can be told by, and the file that holds it."""

    statistics: TaskStatistics
    artifact: str
    """Digest of the file."""


@dataclass(frozen=True)
class StageMemory:
    """A finished stage, as later stages and views need it."""

    learned: Learned
    """What the method knows of it."""
    head: nn.Module | None
    """The task's own head."""
    artifact: str
    """Digest of the file."""
    gathered: Gathered | None = None
    """Where the run's tasks are told apart."""


def stage_bytes(tensors: Mapping[str, Tensor], head: nn.Module | None, metadata: Mapping[str, Any]) -> bytes:
    """The file's content; equal inputs give equal bytes."""
    of_head = {f"{HEAD}{key}": t.detach().cpu() for key, t in head.state_dict().items()} if head else {}
    content = {key: tensor.contiguous() for key, tensor in {**tensors, **of_head}.items()}
    return safetensors_torch.save(content, {METADATA_KEY: canonical_json(metadata)})


def read_stage(content: bytes) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the method's tensors, the head's state).

    Raises: ArtifactDamaged, if it is no safetensors file.
    """
    tensors = read_tensors(content, "a stage's file")
    head = {key.removeprefix(HEAD): t for key, t in tensors.items() if key.startswith(HEAD)}
    return {key: t for key, t in tensors.items() if not key.startswith(HEAD)}, head


def read_tensors(content: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises: ArtifactDamaged, if it is none.
    """
    try:
        return safetensors_torch.load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:  # or an unknown dtype
        raise ArtifactDamaged(f"{what} is no safetensors file: {first_line(error)}") from None


def read_metadata(content: bytes) -> dict[str, Any]:
    """What `stage_bytes` was told beside the tensors.

    Raises: ArtifactDamaged, if it was told nothing.
    """
    header_bytes = int.from_bytes(content[:8], "little")
    try:
        header = decoded(content[8 : 8 + header_bytes].decode())
        metadata = decoded(header["__metadata__"][METADATA_KEY])
    except (ValueError, LookupError, TypeError) as error:
        raise ArtifactDamaged(f"a stage's file says nothing of itself: {first_line(error)}") from None
    if not isinstance(metadata, dict):
        raise ArtifactDamaged(f"a stage's file says {str(metadata)[:60]} of itself, which is no table")
    return metadata


def misfit(head: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """What keeps the state from being the head's; None where it is."""
    wanted = head.state_dict()
    if wanted.keys() != state.keys():
        odd = min(wanted.keys() ^ state.keys())
        return f"'{odd}' is in one of the file and the task's head only"
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape or tensor.dtype != wanted[key].dtype:
            found, right = (f"{tuple(t.shape)} of {t.dtype}" for t in (tensor, wanted[key]))
            return f"'{key}' is {found}, and the task's head has {right}"
        if not bool(tensor.isfinite().all()):
            return f"a number of '{key}' is not finite"
    return None
