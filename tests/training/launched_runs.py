"""Train runs in one process of a launcher, and print what it saw as JSON: a part of test_sharded_runs.py."""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from lori_cl.adapters import read_ids, tensors_digest
from lori_cl.models import sharded_base
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress, distributed
from lori_cl.runtime.sharding import USE_FSDP, Sharding
from lori_cl.spec import CurriculumSpec
from lori_cl.training import RunOptions, run_curriculum, stage_training, trainer

IDS = [[4, 5, 6, 7], [7, 6, 5, 4]]


class Observer:
    """Records the base model before and after it is sharded, and every stage file that the process makes."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"stage_files": []}
        self._shard, self._stage_bytes = sharded_base.shard_model, stage_training.stage_bytes
        sharded_base.shard_model = self.shard_model
        stage_training.stage_bytes = self.stage_bytes

    def end(self) -> dict[str, Any]:
        sharded_base.shard_model, stage_training.stage_bytes = self._shard, self._stage_bytes
        return self.seen

    def shard_model(self, model: Any, how: Sharding) -> None:
        self.seen["devices_before"] = sorted({p.device.type for p in model.parameters()})
        whole = _output(model) if distributed.is_rank_0() else None
        self._shard(model, how)
        tensors = (*model.parameters(), *model.buffers())
        self.seen |= {
            "output_whole": whole,
            "output_sharded": _output(model),
            "buffers": tensors_digest(sorted(model.named_buffers())),
            "on_meta": any(tensor.is_meta for tensor in tensors),
            "values": sum(parameter.numel() for parameter in model.parameters()),
            "held": sum(_local(parameter).numel() for parameter in model.parameters()),
            "sharded": sum(p.numel() for p in model.parameters() if isinstance(p, DTensor)),
        }

    def stage_bytes(self, *arguments: Any) -> bytes:
        content = self._stage_bytes(*arguments)
        self.seen["stage_files"].append(sha256(content).hexdigest())
        return content


def _output(model: nn.Module) -> str:
    """Return the digest of a forward pass, which is the same if the weights are."""
    with torch.no_grad():
        output = read_ids(model.eval(), IDS)
    return tensors_digest([("states", output[0])])


def _local(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def _end_after(steps: int) -> None:
    """End the process, as if it were killed, in its step number `steps` + 1."""
    step, calls = trainer.JobTrainer.training_step, []

    def killed(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > steps:
            os._exit(9)
        return step(self, *arguments)

    trainer.JobTrainer.training_step = killed


def train(root: str, runs: str) -> None:
    """Train the runs of a JSON file, in order, and print one line with what was observed of each."""
    report = {}
    for run in json.loads(Path(runs).read_text()):
        distributed._requested.clear()
        for name in (USE_FSDP, "FSDP_RESHARD_AFTER_FORWARD"):
            os.environ.pop(name, None)
        os.environ |= run["variables"]
        if "killed_after" in run:
            _end_after(run["killed_after"])
        observer = Observer()
        spec = CurriculumSpec.model_validate(run["curriculum"])
        options = RunOptions(measure_all=True)
        run_curriculum(Workspace(Path(root)), spec, run["name"], options, SilentProgress())
        report[run["name"]] = observer.end()
    sys.stdout.write(f"{json.dumps(report)}\n")
