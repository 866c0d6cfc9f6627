"""Small records for a test registry, and helpers that read a database and a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, text

from lori_cl import digest
from lori_cl.registry import (
    Evaluation,
    MaskRecord,
    Projection,
    Registry,
    Run,
    RunStart,
    Stage,
    Task,
    Workspace,
)

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
"""Marks a test of SQLite's files."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def sha(content: str) -> str:
    """Return the digest of an artifact with this content."""
    return digest.of_bytes(content.encode())


def task_spec(name: str = "sst2", **changes: Any) -> dict[str, Any]:
    """Return a task declaration with the fields of `TaskSpec.to_record` that the registry reads."""
    return {
        "name": name,
        "kind": "classification",
        "metric": "accuracy",
        "seed": 3,
        "labels": ["negative", "positive"],
        **changes,
    }


def eval_set(content: str = "examples") -> tuple[str, int, int]:
    """Return an eval set's digest, number of examples and number of bytes."""
    return sha(content), 4, len(content)


def add(registry: Registry, *names: str) -> tuple[Task, ...]:
    """Register tasks of these names, each with its own eval set."""
    return tuple(registry.add_task(task_spec(name), eval_set(name), "tasks")[0] for name in names)


PROJECTION = Projection(
    kind="shared",
    distribution="uniform",
    seed=2**62 + 1,
    rank=4,
    digest=sha("A"),
    sites={"layer.1.query": (16, 8), "layer.0.query": (8, 8)},
)

MASK = MaskRecord(
    strategy="magnitude",
    density=0.1,
    cells=10,
    digest=sha("mask"),
    by_site={"layer.1.query": 7, "layer.0.query": 3},
)


def curriculum(tasks: tuple[Task, ...]) -> dict[str, Any]:
    """Return a curriculum with the fields of `CurriculumSpec.to_record` that the registry reads."""
    return {
        "name": "five-tasks",
        "method": "lori",
        "seed": 7,
        "model": {"path": "bert", "revision": "abc"},
        "tasks": [task.label for task in tasks],
        "train": {"lr": 5e-3, "epochs": 0.1 + 0.2},
    }


def run_start(tasks: tuple[Task, ...], name: str = "first", **changes: Any) -> RunStart:
    """Return the start record of a run over these tasks."""
    start = RunStart(
        name=name,
        curriculum=curriculum(tasks),
        tasks=tasks,
        base_digest=sha("weights"),
        projection=PROJECTION,
        environment={"python": "3.11", "threads": 2},
    )
    return replace(start, **changes)


def stage(task: str, position: int = 1, parent: str | None = None, **changes: Any) -> Stage:
    """Return a stage to commit; its artifact is `sha('stage N')`."""
    made = Stage(
        position=position,
        task=task,
        artifact=sha(f"stage {position}"),
        parent=parent,
        mask=MASK,
        train_digest=sha(f"examples of {task}"),
        n_train=1000,
        n_truncated=12,
        steps=64,
        final_loss=1 / 3,
        elapsed_s=12.5,
        train_s=10.25,
        peak_memory_bytes=200 * 2**30,
        seeds={"head": 2**62 + 3, "order": 5},
    )
    return replace(made, **changes)


def evaluation(task: str, stage: int = 1, view: str = "current", **changes: Any) -> Evaluation:
    """Return a score to commit; its answers are `sha('answers')`."""
    made = Evaluation(
        stage=stage,
        task=task,
        view=view,
        metric="accuracy",
        score=2 / 3,
        n=3,
        stderr=0.1 + 0.2,
        source="measured",
        input_digest=sha(f"input {task} {stage} {view}"),
        n_truncated=1,
        elapsed_s=0.75,
        answers=sha("answers"),
        outcomes=(1.0, 0.0, 1.0),
    )
    return replace(made, **changes)


def files_of(*positions: int) -> dict[str, tuple[str, int]]:
    """Return the artifacts that these stages and every evaluation refer to."""
    stages = {sha(f"stage {position}"): ("safetensors", 64) for position in positions}
    return {sha("answers"): ("jsonl", 32), **stages}


def without_times(record: Run) -> Run:
    """Return the run with every time replaced by a fixed one."""
    return replace(
        record,
        created_at=LONG_AGO,
        tasks=tuple(replace(task, created_at=LONG_AGO) for task in record.tasks),
        stages=tuple(replace(stage, committed_at=None) for stage in record.stages),
    )


@contextmanager
def database(workspace: Workspace) -> Iterator[Engine]:
    """Open a workspace's database directly, without the registry."""
    engine = create_engine(workspace.url or f"sqlite:///{workspace.root / 'registry.db'}")
    try:
        yield engine
    finally:
        engine.dispose()


def rows_of(workspace: Workspace, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows that a query on a workspace's database finds."""
    with database(workspace) as engine, engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def change(workspace: Workspace, sql: str) -> None:
    """Change a workspace's database."""
    with database(workspace) as engine, engine.begin() as connection:
        connection.execute(text(sql))


def snapshot(workspace: Workspace) -> Mapping[str, Any]:
    """Return the digest of every file of a workspace, and every row of an external database."""
    found: dict[str, Any] = dict(contents(workspace.root))
    if workspace.url is not None:
        with database(workspace) as engine:
            tables = MetaData()
            tables.reflect(engine)
            found |= {name: rows_of(workspace, f"SELECT * FROM {name}") for name in tables.tables}
    return found


def contents(folder: Path) -> Mapping[str, str]:
    """Return the digest of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): digest.of_file(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
