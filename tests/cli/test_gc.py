import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lori_cl.registry import GarbageFile, Workspace, find_garbage

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def unused_artifact(workspace: Workspace) -> str:
    """Store an unreferenced artifact that is two hours old; return its digest."""
    sha256 = workspace.artifacts.put(b"1234", "jsonl")
    file = workspace.artifacts.path(sha256, "jsonl")
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 7200))
    return sha256


def test_gc_lists_unused_files_and_deletes_them_only_with_the_delete_option(
    lori_cl: Call, workspace: Workspace, unused_artifact: str
) -> None:
    code, out, _ = lori_cl("gc")
    assert code == 0
    assert "1 unused, 4 bytes; delete: lori-cl gc --delete" in out
    assert workspace.artifacts.path(unused_artifact, "jsonl").exists()
    assert "1 unused, 4 bytes: deleted" in lori_cl("gc", "--delete")[1]
    assert not workspace.artifacts.path(unused_artifact, "jsonl").exists()
    assert "no unused files" in lori_cl("gc")[1]


def test_gc_keeps_recent_files_that_a_command_may_commit(
    lori_cl: Call, workspace: Workspace, unused_artifact: str
) -> None:
    young = workspace.artifacts.put(b"56", "jsonl")
    (entry,) = json.loads(lori_cl("gc", "--delete", "--json")[1])
    assert unused_artifact in entry["path"]
    assert entry["reason"] == "not referenced by the registry"
    assert workspace.artifacts.path(young, "jsonl").exists()
    assert young in lori_cl("gc", "--min-age", "0")[1]


def test_gc_deletes_nothing_while_a_run_of_any_registry_is_active(
    lori_cl: Call, workspace: Workspace, unused_artifact: str
) -> None:
    with workspace.lock("elsewhere"):
        code, out, err = lori_cl("gc", "--delete")
    assert (code, out, workspace.artifacts.path(unused_artifact, "jsonl").exists()) == (0, "", True)
    assert "cannot determine the unused files: elsewhere is running" in err


def test_gc_deletes_nothing_if_a_run_starts_during_the_search(
    lori_cl: Call, workspace: Workspace, unused_artifact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as started_run:

        def start_a_run_first(*arguments: Any) -> list[GarbageFile]:
            started_run.enter_context(workspace.lock("begun"))
            return find_garbage(*arguments)

        monkeypatch.setattr("lori_cl.api.workspace.find_garbage", start_a_run_first)
        code, out, err = lori_cl("gc", "--delete", "--json")
    assert (code, [entry["deleted"] for entry in json.loads(out)]) == (0, [False])
    assert workspace.artifacts.path(unused_artifact, "jsonl").exists()
    assert "begun is running" in err


@pytest.mark.parametrize("by_url", [True, False], ids=["from the other registry", "from the first one"])
def test_gc_deletes_nothing_if_another_registry_uses_the_workspace(
    lori_cl: Call, write_task: Write, workspace: Workspace, unused_artifact: str, tmp_path: Path, by_url: bool
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert lori_cl("--registry", other, "init")[0] == 0
    assert lori_cl("--registry", other, "add-task", write_task("a"))[0] == 0
    code, out, err = lori_cl(*(("--registry", other) if by_url else ()), "gc", "--delete")
    assert (code, out, workspace.artifacts.path(unused_artifact, "jsonl").exists()) == (0, "", True)
    assert err.startswith("cannot determine the unused files: ")
    assert ("registry.db" if by_url else str(tmp_path / "other.db")) in err


def test_gc_works_with_a_single_registry_given_by_url(
    lori_cl: Call, write_task: Write, workspace: Workspace, unused_artifact: str, tmp_path: Path
) -> None:
    (workspace.root / "registry.db").unlink()
    only = f"sqlite:///{tmp_path / 'only.db'}"
    lori_cl("--registry", only, "init")
    lori_cl("--registry", only, "add-task", write_task("a"))
    assert "1 unused, 4 bytes: deleted" in lori_cl("--registry", only, "gc", "--delete")[1]
