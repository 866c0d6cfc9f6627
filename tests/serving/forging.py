"""How to lie: changes to a registry and to files that nobody should make."""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any

from safetensors.torch import load
from torch import Tensor

from lori_cl import digest
from lori_cl.registry import Workspace
from lori_cl.registry.stage_records import stage_records
from lori_cl.serving.verify import verify
from lori_cl.tasks import from_jsonl
from lori_cl.training.stage_file import read_metadata, stage_bytes

NAMED_IN = (
    *(("stages", "artifact"), ("stages", "parent"), ("evaluations", "answers")),
    *(("eval_sets", "artifact"), ("task_statistics", "artifact"), ("artifacts", "digest")),
)
"""Where the registry names files."""


def told(workspace: Workspace, name: str = "run") -> dict[str, str]:
    """By check, what verify found."""
    with workspace.read() as registry:
        return {passed.check: passed.found for passed in verify(workspace, registry, name)}


def lie(workspace: Workspace, statement: str) -> None:
    """Change a row by SQL; what refers to what is not looked at."""
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        assert database.execute(statement).rowcount, f"nothing was changed: {statement}"


def forget_records(workspace: Workspace) -> None:
    """Remove every stage record, as a registry of an earlier version has none."""
    with workspace.read() as registry:
        records = registry.unnamed_artifacts()
    for sha256 in records:
        workspace.artifacts.path(sha256, "jsonl").unlink()
        lie(workspace, f"DELETE FROM artifacts WHERE digest = '{sha256}'")


def rewrite_records(workspace: Workspace, name: str = "run") -> None:
    """Make every record of a run anew, as an owner of the files does who changed a score."""
    forget_records(workspace)
    with workspace.read() as registry:
        records = stage_records(registry.run(name), registry.score_log(name))
    for record in records:
        register(workspace, record.content)


def register(workspace: Workspace, content: bytes) -> str:
    """Put a JSON Lines file among the artifacts and into the registry; returns its digest."""
    sha256 = workspace.artifacts.put(content, "jsonl")
    row = f"('{sha256}', 'jsonl', {len(content)}, '2026-01-01')"
    lie(workspace, f"INSERT OR REPLACE INTO artifacts VALUES {row}")
    return sha256


def forge_score(workspace: Workspace, stage: int, task: str, view: str) -> None:
    """Put answers that are all right in place of a score's (all wrong, where they were right), and make its
    row and all it names fit."""
    with workspace.read() as registry:
        (old,) = (e for e in registry.evaluations("run") if (e.stage, e.task, e.view) == (stage, task, view))
        (eval_set,) = (t.eval_set.digest for t in registry.run("run").tasks if t.label == task)
    examples = from_jsonl(workspace.artifacts.get(eval_set, "jsonl"))
    lines = [json.loads(line) for line in workspace.artifacts.get(old.answers, "jsonl").splitlines()]
    right = old.score < 1
    wanted = {"red": "red", "blue": "blue"} if right else {"red": "blue", "blue": "red"}
    lines = [
        {**line, "answer": wanted[e.target], "outcome": float(right)}
        for line, e in zip(lines, examples, strict=True)
    ]
    sha256 = register(workspace, "".join(json.dumps(line) + "\n" for line in lines).encode())
    outcomes = json.dumps([float(right)] * len(lines))
    lie(
        workspace,
        f"UPDATE evaluations SET answers = '{sha256}', score = {int(right)}, stderr = 0, "
        f"source = 'measured', outcomes = '{outcomes}', input_digest = 'f{stage}{task}{view}' "
        f"WHERE stage = {stage} AND view = '{view}' "
        f"AND task_id = (SELECT id FROM tasks WHERE name = '{task}')",
    )


def edit(workspace: Workspace, cell: str, where: str, change: Callable[[Any], Any]) -> None:
    """Change the JSON in one cell, named TABLE.COLUMN."""
    table, column = cell.split(".")
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        ((text,),) = database.execute(f'SELECT "{column}" FROM {table} WHERE {where}').fetchall()
        value = json.dumps(change(json.loads(text)))
        database.execute(f'UPDATE {table} SET "{column}" = ? WHERE {where}', (value,))


def forge(workspace: Workspace, sha256: str, suffix: str, content: bytes) -> str:
    """Put other content in a file's place, and its digest wherever the registry names the old one."""
    folder = workspace.root / "artifacts"
    (folder / f"{sha256}.{suffix}").unlink()
    forged = digest.of_bytes(content)
    (folder / f"{forged}.{suffix}").write_bytes(content)
    with closing(sqlite3.connect(workspace.root / "registry.db")) as database, database:
        for table, column in NAMED_IN:
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
    """Put a file of other tensors in its place, or one with other words, or without some, in its metadata."""
    content = workspace.artifacts.get(sha256, "safetensors")
    said = {k: v for k, v in {**read_metadata(content), **metadata}.items() if k not in without}
    return forge(workspace, sha256, "safetensors", stage_bytes(change(load(content)), None, said))
