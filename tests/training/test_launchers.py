from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lori_cl.evaluation.stage_file import read_stage
from lori_cl.registry import Run, Workspace
from lori_cl.task_data import register_tasks
from tests.launched import two_processes


@pytest.mark.nightly
def test_two_launched_processes_train_one_run(
    train_run: Callable[..., Run],
    workspace: Workspace,
    write_curriculum: Callable[..., Path],
    tiny_encoder: Path,
    tmp_path: Path,
) -> None:
    # Dropout differs per process and would hide whether gradients are shared.
    plain = shutil.copytree(tiny_encoder, tmp_path / "without-dropout")
    config = json.loads((plain / "config.json").read_text())
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (plain / "config.json").write_text(json.dumps({**config, **dropout}))
    model, train = {"path": str(plain)}, {"epochs": 1, "lr": 0.01, "max_length": 16}
    train_run("a", "b", name="alone", model=model, train={**train, "batch_size": 8})
    half = write_curriculum("a", "b", model=model, train={**train, "batch_size": 4})
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "lori_cl", "--workspace", str(workspace.root), "run", str(half), "--name", "both"]
    done = subprocess.run(
        [*launched, *command], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("View current") == 1  # only rank 0 writes output
    with workspace.read() as registry:
        distributed, single = registry.run("both"), registry.run("alone")
    assert distributed.status == "done"
    # A batch of 4 on each of two processes is one step of 8.
    assert [s.steps for s in distributed.stages] == [s.steps for s in single.stages]
    assert [s.mask.digest for s in distributed.stages if s.mask] == [
        s.mask.digest for s in single.stages if s.mask
    ]
    assert [s.final_loss for s in distributed.stages] == pytest.approx(
        [s.final_loss for s in single.stages], rel=1e-6
    )
    for one, other in zip(distributed.stages, single.stages, strict=True):
        learned, expected = (
            read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))[0] for stage in (one, other)
        )
        values = [name for name in expected if name.startswith("values/")]
        assert values
        assert all(torch.allclose(learned[name], expected[name], atol=1e-4) for name in values)


@pytest.mark.nightly
def test_every_launched_process_reports_that_the_run_is_locked(workspace: Workspace) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from lori_cl.errors import RunConflict; from lori_cl.registry import Workspace\n"
        "from lori_cl.runtime.distributed import join, lock_run\n"
        "join()\n"
        "try:\n"
        "    with lock_run(Workspace(Path(sys.argv[1])), 'held'): pass\n"
        "except RunConflict as refused:\n"
        "    print(refused)\n"
    )
    with workspace.lock("held"):
        outputs = [out for _, out, _ in two_processes("-c", script, workspace.root)]
    assert [line.startswith(f"run 'held' is locked by process {os.getpid()} on ") for line in outputs] == [
        True
    ] * 2


@pytest.mark.nightly
def test_signal_to_one_launched_process_stops_all_at_the_same_step_with_a_checkpoint(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> None:
    script = (
        "import os, signal\n"
        "from lori_cl.cli.main import entry\n"
        "from lori_cl.training.trainer import JobTrainer\n"
        "step, calls = JobTrainer.training_step, []\n"
        "def signalled(self, *arguments):\n"
        "    calls.append(1)\n"
        "    if os.environ['RANK'] == '1' and len(calls) == 2:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    return step(self, *arguments)\n"
        "JobTrainer.training_step = signalled\n"
        "entry()\n"
    )
    register_tasks(workspace, [write_task("a")])
    curriculum = write_curriculum("a", train={"epochs": 3, "batch_size": 4, "max_length": 16})
    first, second = two_processes(
        "-c", script, "--workspace", workspace.root, "run", curriculum, "--name", "r"
    )
    assert (first[0], second[0]) == (1, 1), first[2] + second[2]
    assert "Interrupted: stopped as requested in 'stage 1/1 a: training' after 2 of 6; " in first[2]
    assert "Interrupted" not in second[2]
    (checkpoint,) = (workspace.checkpoints / "r").glob("train-*/checkpoint-*/complete.json")
    assert checkpoint.parent.name == "checkpoint-2"
