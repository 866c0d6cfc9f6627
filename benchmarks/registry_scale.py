"""Run time of commands on a registry with thousands of runs.

    python benchmarks/registry_scale.py
    python benchmarks/registry_scale.py --runs 200 --stages 5 --url postgresql+psycopg://user@host/name

Creates a synthetic registry: runs with equal settings on one base model, each with `--stages` stages, masks
of `--sites` sites, and the scores of all earlier tasks under two views, with `--examples` outcomes each. Then
it calls each command in a separate process and prints medians: seconds and processor seconds without the
imports, total seconds, and peak memory. There are no artifact files, so `run` and `verify` cannot be called.
`finished run` measures what `lori-cl run` reads from the registry when every stage is committed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection, create_engine, func, insert, select

from lori_cl import digest
from lori_cl.registry import Workspace
from lori_cl.registry.tables import (
    ArtifactRow,
    EnvironmentRow,
    EvalSetRow,
    EvaluationRow,
    MaskRow,
    ProjectionRow,
    RunRow,
    RunTaskRow,
    StageRow,
    TaskRow,
)

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
IMPORTS = "import lori_cl.cli.main, lori_cl.cli.output, lori_cl.reports"
COMMANDS = {
    "runs": ("runs",),
    "runs --json": ("runs", "--json"),
    "runs NAME": ("runs", "run-0"),
    "report": ("report", "run-0"),
    "report --json": ("report", "run-0", "--json"),
    "capacity": ("capacity", "run-0"),
    "tasks": ("tasks",),
    "gc": ("gc",),
    "finished run": (),
}
FINISHED_RUN = """
from pathlib import Path
from lori_cl.registry import Workspace
from lori_cl.reports import gather
with Workspace(Path({root!r}), {url!r}).read() as registry:
    gather(registry, "run-0")
"""


@dataclass(frozen=True)
class Size:
    """Size of the registry."""

    runs: int
    stages: int
    sites: int
    examples: int


@dataclass(frozen=True)
class Timing:
    """Median timing of one command."""

    elapsed_s: float
    cpu_s: float
    """Processor time of the command's process, without a database server."""
    peak_mb: float


def fill(connection: Connection, size: Size) -> None:
    """Insert the runs; row ids start at 1."""
    spec = {"kind": "classification", "metric": "accuracy", "seed": 0, "labels": ["no", "yes"]}
    files = [_sha("answers"), *(_sha(f"stage {i}") for i in range(size.stages))]
    files += [_sha(f"eval {i}") for i in range(size.stages)]
    connection.execute(insert(ArtifactRow), [{"digest": f, "suffix": "jsonl", "bytes": 9} for f in files])
    connection.execute(
        insert(EnvironmentRow), [{"id": 1, "digest": _sha("env"), "values": {"python": "3.11", "threads": 2}}]
    )
    tasks = range(1, size.stages + 1)
    connection.execute(
        insert(EvalSetRow), [{"id": i, "artifact": _sha(f"eval {i - 1}"), "n": size.examples} for i in tasks]
    )
    connection.execute(insert(TaskRow), [_task(i, spec) for i in tasks])
    for run in range(1, size.runs + 1):
        _fill_run(connection, run, size)


def _task(i: int, spec: dict[str, Any]) -> dict[str, Any]:
    named = {**spec, "name": f"task-{i}"}
    columns = {key: named[key] for key in ("name", "kind", "metric", "seed")}
    rest = {"id": i, "version": 1, "spec": named, "spec_digest": digest.of_json(named), "eval_set_id": i}
    return {**columns, **rest, "declared_in": "tasks", "created_at": BEGUN}


def _fill_run(connection: Connection, run: int, size: Size) -> None:
    connection.execute(insert(RunRow), [_run(run, size)])
    sites = {f"encoder.layer.{i}.attention.query": 64 for i in range(size.sites)}
    connection.execute(
        insert(ProjectionRow),
        [
            {
                **{
                    "id": run,
                    "run_id": run,
                    "kind": "shared",
                    "distribution": "uniform",
                    "seed": 1,
                    "rank": 32,
                },
                **{"digest": _sha("A"), "sites": {site: [64, 64] for site in sites}},
            }
        ],
    )
    stages = range(1, size.stages + 1)
    ids = {i: (run - 1) * size.stages + i for i in stages}
    connection.execute(
        insert(RunTaskRow), [{"id": ids[i], "run_id": run, "position": i, "task_id": i} for i in stages]
    )
    connection.execute(insert(StageRow), [_stage(ids[i], run, i) for i in stages])
    mask = {"strategy": "magnitude", "density": 0.05, "cells": 100, "digest": _sha("mask"), "by_site": sites}
    connection.execute(
        insert(MaskRow),
        [
            {**mask, "id": ids[i], "stage_id": ids[i], "rank": 32, "projection": None, "directions": None}
            for i in stages
        ],
    )
    connection.execute(insert(EvaluationRow), list(_evaluations(run, size)))


def _run(run: int, size: Size) -> dict[str, Any]:

    labels = [f"task-{i}" for i in range(1, size.stages + 1)]
    curriculum = {
        "name": f"order-{run}",
        "model": {"path": "bert", "revision": None},
        "method": "lori",
        "tasks": labels,
        "seed": 0,
        "adapter": {"rank": 32, "alpha": 64.0, "targets": "all-linear"},
        "masks": {"strategy": "magnitude", "density": 0.05},
        "train": {"epochs": 2.0, "batch_size": 32, "lr": 0.005, "max_length": 128, "limit": 1000},
        "eval": {"limit": 1000, "views": ["as_trained", "current"]},
    }
    what = {"id": run, "name": f"run-{run - 1}", "curriculum": curriculum, "method": "lori", "seed": 0}
    base = {"base_path": "bert", "base_revision": None, "base_digest": _sha("base"), "imported": None}
    return {**what, **base, "environment_id": 1, "created_at": BEGUN}


def _stage(row: int, run: int, position: int) -> dict[str, Any]:
    what = {"id": row, "run_id": run, "position": position, "task_id": position}
    files = {"artifact": _sha(f"stage {position - 1}"), "parent": None, "train_digest": _sha("train")}
    counts = {"n_train": 1000, "n_truncated": 0, "steps": 63, "peak_memory_bytes": 10**9}
    times = {"final_loss": 0.3, "elapsed_s": 30.0, "train_s": 20.0, "committed_at": BEGUN}
    rest = {"seeds": {"train": 1}, "retired_after": None, "retired_at": None, "environment_id": None}
    return {**what, **files, **counts, **times, **rest}


def _evaluations(run: int, size: Size) -> Iterator[dict[str, Any]]:
    for stage in range(size.stages + 1):
        for task in range(1, (stage or size.stages) + 1):
            for view in ("base",) if stage == 0 else ("as_trained", "current"):
                right = (7 * run + 3 * stage + task) % (size.examples + 1)
                yield {
                    **{"run_id": run, "stage": stage, "task_id": task, "view": view, "metric": "accuracy"},
                    **{"score": right / size.examples, "n": size.examples, "stderr": 0.01},
                    **{"source": "measured", "input_digest": _sha(f"{run} {stage} {task} {view}")},
                    **{"n_truncated": 0, "elapsed_s": 0.5, "answers": _sha("answers"), "parts": None},
                    "outcomes": [1.0] * right + [0.0] * (size.examples - right),
                }


def _sha(text: str) -> str:
    return digest.of_bytes(text.encode())


def create(root: Path, url: str | None, size: Size) -> Workspace:
    """Open a workspace and fill its registry with the runs, unless it already has runs."""
    workspace = Workspace(root, url)
    workspace.create()
    engine = create_engine(url or f"sqlite:///{root / 'registry.db'}")
    with engine.begin() as connection:
        existing = connection.scalar(select(func.count()).select_from(RunRow))
        if not existing:
            fill(connection, size)
    engine.dispose()
    return workspace


def call(root: Path, url: str | None, arguments: tuple[str, ...], repeats: int) -> Timing:
    """Time a command in separate processes; without arguments, the registry reads of a finished run."""
    code = f"import sys; sys.argv[0] = 'lori-cl'; {IMPORTS}; lori_cl.cli.main.entry()"
    if not arguments:
        code = f"{IMPORTS}; {FINISHED_RUN.format(root=str(root), url=url)}"
    registry = ("--registry", url) if url else ()
    command = [sys.executable, "-c", code, "--workspace", str(root), *registry, *arguments]
    return _median(command, repeats)


def _median(command: list[str], repeats: int) -> Timing:
    found = [_timed(command) for _ in range(repeats)]
    fields = zip(*map(astuple, found), strict=True)
    return Timing(*map(statistics.median, fields))


def _timed(command: list[str]) -> Timing:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{command[-2:]} exited with {process.returncode}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Timing(time.perf_counter() - began, cpu_s, usage.ru_maxrss / 1024)


@click.command()
@click.option("--runs", default=2000, show_default=True)
@click.option("--stages", default=15, show_default=True)
@click.option("--sites", default=72, show_default=True)
@click.option("--examples", default=100, show_default=True, help="Number of outcomes per score.")
@click.option("--repeats", default=3, show_default=True, help="Calls of each command; the median counts.")
@click.option("--workspace", type=click.Path(path_type=Path), help="Workspace to use; temporary by default.")
@click.option("--url", help="SQLAlchemy URL of a database to use instead of registry.db.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    runs: int,
    stages: int,
    sites: int,
    examples: int,
    repeats: int,
    workspace: Path | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Measure commands on a registry with many runs."""
    with tempfile.TemporaryDirectory() as folder:
        root = workspace or Path(folder)
        create(root, url, Size(runs, stages, sites, examples))
        imports = _median([sys.executable, "-c", IMPORTS], repeats)
        found = {name: call(root, url, arguments, repeats) for name, arguments in COMMANDS.items()}
    rows = {name: _without_imports(timing, imports) for name, timing in found.items()}
    if as_json:
        click.echo(json.dumps({"imports_s": imports.elapsed_s, "commands": rows}, indent=2))
        return
    click.echo(f"{runs:,} runs of {stages} stages; imports take {imports.elapsed_s:.2f} s")
    click.echo("| command | s | CPU s | s with imports | peak MB |\n| :-- | --: | --: | --: | --: |")
    for name, row in rows.items():
        click.echo(f"| {name} | {' | '.join(f'{value:,.2f}' for value in row.values())} |")


def _without_imports(timing: Timing, imports: Timing) -> dict[str, float]:
    return {
        "s": timing.elapsed_s - imports.elapsed_s,
        "cpu_s": timing.cpu_s - imports.cpu_s,
        "s_with_imports": timing.elapsed_s,
        "peak_mb": timing.peak_mb,
    }


if __name__ == "__main__":
    main()
