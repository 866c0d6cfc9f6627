"""A stage's artifact: what its method and its task's head left behind, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from lori_cl.digest import canonical_json
from lori_cl.methods import Learned
from lori_cl.routing import TaskStatistics

HEAD = "head/"
METADATA_KEY = "lori_cl"
"""One key only: safetensors writes several in an order that changes from process to process."""


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
    """(the method's tensors, the head's state)."""
    tensors = safetensors_torch.load(content)
    head = {key.removeprefix(HEAD): t for key, t in tensors.items() if key.startswith(HEAD)}
    return {key: t for key, t in tensors.items() if not key.startswith(HEAD)}, head


def read_metadata(content: bytes) -> dict[str, Any]:
    """What `stage_bytes` was told beside the tensors."""
    header_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_bytes])
    metadata: dict[str, Any] = json.loads(header["__metadata__"][METADATA_KEY])
    return metadata
