"""Start two processes like a launcher."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
"""The variables with which `accelerate launch` requests FSDP2."""


PYTHON = (sys.executable,)


def two_processes(
    *arguments: object, python: Sequence[object] = PYTHON, timeout_s: int = 300, **variables: str
) -> list[tuple[int, str, str]]:
    """Run Python with these arguments in two processes; return (exit code, stdout, stderr) of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(probe.getsockname()[1]),
            "WORLD_SIZE": "2",
        }
    started = [
        subprocess.Popen(
            [*map(str, python), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                **rendezvous,
                **variables,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=timeout_s) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, outputs, strict=True)]
