"""Start several processes that each write their own run at the same time and read the others' runs.

python -m tests.registry.writers FOLDER URL NAME...
"""

from __future__ import annotations

import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lori_cl.registry import Workspace

from .registry_records import add, evaluation, run_start, stage

STAGES = 3


def write(workspace: Workspace, name: str, barrier: Any) -> None:
    """Write a run; its first task and its answers are the same in every run."""
    barrier.wait(timeout=60)
    with workspace.lock(name), workspace.open() as registry:
        tasks = add(registry, "shared", *(f"{name}-{number}" for number in range(2, STAGES + 1)))
        registry.begin_run(run_start(tasks, name))
        answers = workspace.artifacts.put(b"the same answers", "jsonl")
        for position, task in enumerate(tasks, 1):
            content = f"stage {position} of {name}".encode()
            artifact = workspace.artifacts.put(content, "safetensors")
            registry.commit_stage(
                name,
                stage(task.name, position, artifact=artifact),
                [replace(evaluation(task.name, position), answers=answers)],
                {artifact: ("safetensors", len(content)), answers: ("jsonl", 16)},
            )
            with workspace.read() as reader:
                assert len(reader.run(name).stages) == position
                assert all(len(run.stages) <= STAGES for run in reader.runs())


if __name__ == "__main__":
    folder, url, *names = sys.argv[1:]
    forking = multiprocessing.get_context("fork")
    barrier = forking.Barrier(len(names))
    processes = [
        forking.Process(target=write, args=(Workspace(Path(folder), url or None), name, barrier))
        for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(process.exitcode or 0 for process in processes))
