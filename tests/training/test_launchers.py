from __future__ import annotations

import os
import socket
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


def test_every_process_of_a_launcher_is_told_that_the_run_is_held(workspace: Workspace) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from lori_cl.errors import RunConflict; from lori_cl.registry import Workspace\n"
        "from lori_cl.training.launch import hold, join\n"
        "join()\n"
        "try:\n"
        "    with hold(Workspace(Path(sys.argv[1])), 'held'): pass\n"
        "except RunConflict as refused:\n"
        "    print(refused)\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    with workspace.hold("held"):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(workspace.root)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(2)
        ]
        said = [process.communicate(timeout=300)[0] for process in processes]
    assert [line.startswith(f"run 'held' is held by process {os.getpid()} on ") for line in said] == [
        True
    ] * 2
