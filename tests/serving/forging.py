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
from lori_cl.serving.verify import verify
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
