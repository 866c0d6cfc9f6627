"""Checkpoints of a training job: trainable parameters only; incomplete checkpoints are ignored."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lori_cl import digest
from lori_cl.registry import write_durably

TRAINED = "trained.safetensors"
COMPLETE = "complete.json"
"""Written last; holds the digest of every other file."""
LOSS_SUM = "loss_sum"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder written by the Trainer."""

    folder: Path
    step: int
    """Optimizer steps done."""


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint in a job's folder, ignoring interrupted and damaged ones."""
    found = sorted(_checkpoints(folder), key=lambda checkpoint: -checkpoint.step)
    return next(filter(_is_complete, found), None)


def mark_complete(folder: Path, step: int) -> None:
    """Sync the checkpoint of this step to disk, mark it complete and remove the others."""
    checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    files = [file for file in sorted(checkpoint.iterdir()) if file.name != COMPLETE]
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    digests = {file.name: digest.of_file(file) for file in files}
    write_durably(checkpoint / COMPLETE, json.dumps(digests).encode())
    for other in _checkpoints(folder):
        if other.step != step:
            shutil.rmtree(other.folder)


def write_trained(folder: Path, learner: nn.Module, loss_sum: float) -> None:
    """Write every trainable parameter and the sum of the losses so far."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: p.detach().cpu().contiguous() for name, p in learner.named_parameters() if p.requires_grad
    }
    save_file(tensors, folder / TRAINED, {LOSS_SUM: repr(loss_sum)})


@torch.no_grad()
def read_trained(folder: Path, learner: nn.Module) -> float:
    """Restore every trainable parameter; return the sum of the losses."""
    with safe_open(folder / TRAINED, "pt") as file:
        for name, parameter in learner.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(file.get_tensor(name))
        return float(file.metadata()[LOSS_SUM])


def _checkpoints(folder: Path) -> list[Checkpoint]:
    found = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    steps = {each: each.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-") for each in found}
    return [Checkpoint(each, int(step)) for each, step in steps.items() if step.isdecimal()]


def _is_complete(checkpoint: Checkpoint) -> bool:
    try:
        digests = json.loads((checkpoint.folder / COMPLETE).read_bytes())
        return all(digest.of_file(checkpoint.folder / name) == sha256 for name, sha256 in digests.items())
    except (OSError, ValueError):
        return False
