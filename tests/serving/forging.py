"""Helpers that forge registry rows and files, for tests of verification."""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any

from alembic import command
from alembic.config import Config
from safetensors.torch import load
from sqlalchemy import create_engine
from torch import Tensor

from lori_cl import digest
from lori_cl.evaluation.stage_file import read_metadata, stage_bytes
from lori_cl.registry import Workspace
from lori_cl.registry.migrate import MIGRATIONS
from lori_cl.registry.stage_records import stage_records
from lori_cl.runtime import SilentProgress
from lori_cl.serving.verify import verify
from lori_cl.tasks import from_jsonl

DIGEST_COLUMNS = (
    *(("stages", "artifact"), ("stages", "parent"), ("evaluations", "answers")),
    *(("eval_sets", "artifact"), ("task_statistics", "artifact"), ("artifacts", "digest")),
)
"""Columns in which the registry stores digests of files."""


def findings(workspace: Workspace, name: str = "run") -> dict[str, str]:
    """Return what verify found, by check."""
    with workspace.read() as registry:
        return {passed.check: passed.found for passed in verify(workspace, registry, name, SilentProgress())}


def execute_sql(workspace: Workspace, statement: str) -> None:
    """Change rows by SQL; foreign keys are not checked."""
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        assert database.execute(statement).rowcount, f"nothing was changed: {statement}"


def downgrade(workspace: Workspace, revision: str) -> None:
    """Downgrade the registry to an earlier schema."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{workspace.root / 'registry.db'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def remove_stage_records(workspace: Workspace) -> None:
    """Remove every stage record; a registry of an earlier version has none."""
    with workspace.read() as registry:
        records = registry.unreferenced_artifacts()
    for sha256 in records:
        workspace.artifacts.path(sha256, "jsonl").unlink()
        execute_sql(workspace, f"DELETE FROM artifacts WHERE digest = '{sha256}'")


def rebuild_stage_records(workspace: Workspace, name: str = "run") -> None:
    """Rebuild every stage record of a run, as the files' owner can do after changing a score."""
    remove_stage_records(workspace)
    with workspace.read() as registry:
        records = stage_records(registry.run(name), registry.score_log(name))
    for record in records:
        register(workspace, record.content)


def register(workspace: Workspace, content: bytes) -> str:
    """Store a JSON Lines file as an artifact and register it; return its digest."""
    sha256 = workspace.artifacts.put(content, "jsonl")
    row = f"('{sha256}', 'jsonl', {len(content)}, '2026-01-01')"
    execute_sql(workspace, f"INSERT OR REPLACE INTO artifacts VALUES {row}")
    return sha256


def forge_score(workspace: Workspace, stage: int, task: str, view: str) -> None:
    """Replace a score's answers by all correct ones (all wrong ones if they were correct), and make its row
    and everything it refers to consistent."""
    with workspace.read() as registry:
        (old,) = (e for e in registry.evaluations("run") if (e.stage, e.task, e.view) == (stage, task, view))
        (eval_set,) = (t.eval_set.digest for t in registry.run("run").tasks if t.label == task)
    examples = from_jsonl(workspace.artifacts.get(eval_set, "jsonl"))
    lines = [json.loads(line) for line in workspace.artifacts.get(old.answers, "jsonl").splitlines()]
    correct = old.score < 1
    new_answers = {"red": "red", "blue": "blue"} if correct else {"red": "blue", "blue": "red"}
    lines = [
        {**line, "answer": new_answers[e.target], "outcome": float(correct)}
        for line, e in zip(lines, examples, strict=True)
    ]
    sha256 = register(workspace, "".join(json.dumps(line) + "\n" for line in lines).encode())
    outcomes = json.dumps([float(correct)] * len(lines))
    execute_sql(
        workspace,
        f"UPDATE evaluations SET answers = '{sha256}', score = {int(correct)}, stderr = 0, "
        f"source = 'measured', outcomes = '{outcomes}', input_digest = 'f{stage}{task}{view}' "
        f"WHERE stage = {stage} AND view = '{view}' "
        f"AND task_id = (SELECT id FROM tasks WHERE name = '{task}')",
    )


def edit_json(workspace: Workspace, cell: str, where: str, change: Callable[[Any], Any]) -> None:
    """Change the JSON in one cell, named TABLE.COLUMN."""
    table, column = cell.split(".")
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        ((text,),) = database.execute(f'SELECT "{column}" FROM {table} WHERE {where}').fetchall()
        value = json.dumps(change(json.loads(text)))
        database.execute(f'UPDATE {table} SET "{column}" = ? WHERE {where}', (value,))


def forge(workspace: Workspace, sha256: str, suffix: str, content: bytes) -> str:
    """Replace a file's content, and its digest wherever the registry names the old one."""
    folder = workspace.root / "artifacts"
    (folder / f"{sha256}.{suffix}").unlink()
    forged = digest.of_bytes(content)
    (folder / f"{forged}.{suffix}").write_bytes(content)
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        for table, column in DIGEST_COLUMNS:
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (forged, sha256))
        database.execute("UPDATE artifacts SET bytes = ? WHERE digest = ?", (len(content), forged))
    return forged


def forge_tensors(
    workspace: Workspace,
    sha256: str,
    change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] = dict,
    without: Collection[str] = (),
    **metadata: Any,
) -> str:
    """Replace a file by one with changed tensors, or with changed or removed metadata."""
    content = workspace.artifacts.get(sha256, "safetensors")
    new_metadata = {k: v for k, v in {**read_metadata(content), **metadata}.items() if k not in without}
    return forge(workspace, sha256, "safetensors", stage_bytes(change(load(content)), None, new_metadata))
