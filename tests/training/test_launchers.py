from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lori_cl.registry import Run, Workspace


def test_two_processes_of_a_launcher_learn_one_run(
    learn: Callable[..., Run],
    workspace: Workspace,
    write_curriculum: Callable[..., Path],
) -> None:
    learn("a", "b", name="alone", train={"epochs": 1, "batch_size": 8, "lr": 0.01, "max_length": 16})
    half = write_curriculum("a", "b", train={"epochs": 1, "batch_size": 4, "lr": 0.01, "max_length": 16})
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "lori_cl", "--workspace", str(workspace.root), "run", str(half), "--name", "both"]
    done = subprocess.run(
        [*launched, *command], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("View current") == 1  # one of them speaks
    with workspace.read() as registry:
        both, alone = registry.run("both"), registry.run("alone")
    assert both.status == "done"
    # Two batches of 4, each on one process, are one step of 8.
    assert [s.steps for s in both.stages] == [s.steps for s in alone.stages]
    assert [s.mask.digest for s in both.stages if s.mask] == [s.mask.digest for s in alone.stages if s.mask]
