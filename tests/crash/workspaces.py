"""Workspaces for the crash test, the checks after each kill, and the final result to compare."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lori_cl.digest import of_file
from lori_cl.registry import Workspace, find_garbage
from lori_cl.task_data import register_tasks
from tests.tiny import declare_task, make_encoder, tiny_curriculum

RUN = "run"
VOLATILE = {"created_at", "committed_at", "elapsed_s", "train_s", "peak_memory_bytes"}
"""Columns of times, durations and memory, which differ between equal runs."""

SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "lori": {
        "adapter": {"rank": 4, "alpha": 8, "projection": "null-space"},
        "masks": {"strategy": "magnitude", "density": 0.1},
        "train": {"epochs": 2, "batch_size": 8, "lr": 0.01, "max_length": 16, "save_steps": 1},
        "eval": {"batch_size": 4, "views": ["as_trained", "current", "routed"]},
    },
    "sequential-lora": {
        "method": "sequential-lora",
        "train": {"epochs": 3, "batch_size": 8, "lr": 0.01, "max_length": 16, "save_steps": 2},
    },
}


@dataclass(frozen=True)
class CrashWorkspaces:
    """Prepared workspaces without a run, and the command that runs each scenario."""

    folder: Path

    def prepare(self) -> None:
        """Create the model, the tasks, and a workspace with the tasks."""
        encoder = make_encoder(self.folder / "encoder")
        tasks = [declare_task(self.folder / "declared", name) for name in ("a", "b")]
        self._initial.create()
        register_tasks(self._initial, tasks)
        for name, fields in SCENARIOS.items():
            curriculum = tiny_curriculum(encoder, ("a", "b"), **fields)
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(curriculum))

    def fresh(self) -> Workspace:
        """Return the workspace for runs, reset to its state before any run."""
        made = Workspace(self.folder / "workspace")
        shutil.rmtree(made.root, ignore_errors=True)
        shutil.copytree(self._initial.root, made.root)
        return made

    def command(self, workspace: Workspace, scenario: str) -> list[str]:
        """Return the command line after `lori-cl`."""
        file = self.folder / f"{scenario}.yaml"
        return ["--workspace", str(workspace.root), "run", str(file), "--name", RUN]

    @property
    def _initial(self) -> Workspace:
        return Workspace(self.folder / "untouched")


def check_consistent(workspace: Workspace) -> None:
    """Check what must hold after any kill.

    The registry is intact, every file that it names exists and matches its digest, and garbage collection
    removes all other files.
    """
    with sqlite3.connect(workspace.root / "registry.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        registered = dict(database.execute("SELECT digest, suffix FROM artifacts").fetchall())
        assert {artifact for (artifact,) in database.execute("SELECT artifact FROM stages")} <= set(
            registered
        )
        stages = [
            position for (position,) in database.execute("SELECT position FROM stages ORDER BY position")
        ]
    database.close()
    assert stages == list(range(1, len(stages) + 1))
    with workspace.read() as registry:
        for garbage_file in find_garbage(workspace, registry):
            garbage_file.remove()
    files = {file.name for file in workspace.artifacts.folder.iterdir()}
    assert files == {f"{digest}.{suffix}" for digest, suffix in registered.items()}
    for digest, suffix in registered.items():
        assert of_file(workspace.artifacts.path(digest, suffix)) == digest


def outcome(workspace: Workspace) -> dict[str, Any]:
    """Return everything that a finished run stored in the registry and on disk, without times."""
    with sqlite3.connect(workspace.root / "registry.db") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, Any] = {table: sorted(_rows(database, table)) for table in tables}
    database.close()
    found["files"] = sorted(file.name for file in workspace.artifacts.folder.iterdir())
    found["checkpoints"] = sorted(file.name for file in workspace.checkpoints.glob("*"))
    return found


def _rows(database: sqlite3.Connection, table: str) -> Iterator[str]:
    found = database.execute(f'SELECT * FROM "{table}"')
    columns = [column for column, *_ in found.description]
    for row in found:
        yield repr([(key, value) for key, value in zip(columns, row, strict=True) if key not in VOLATILE])
