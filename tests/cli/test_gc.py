import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lori_cl.registry import Leftover, Workspace, leftovers

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def loose(workspace: Workspace) -> str:
    """An artifact that no row names, two hours old; returns its digest."""
    sha256 = workspace.artifacts.put(b"1234", "jsonl")
    file = workspace.artifacts.path(sha256, "jsonl")
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 7200))
    return sha256


def test_gc_shows_what_is_left_over_and_deletes_it_only_when_asked(
    lori_cl: Call, workspace: Workspace, loose: str
) -> None:
    code, out, _ = lori_cl("gc")
    assert code == 0
    assert "1 left over, 4 bytes; lori-cl gc --delete deletes them" in out
    assert workspace.artifacts.path(loose, "jsonl").exists()
    assert "1 left over, 4 bytes: deleted" in lori_cl("gc", "--delete")[1]
    assert not workspace.artifacts.path(loose, "jsonl").exists()
    assert "nothing is left over" in lori_cl("gc")[1]


def test_gc_leaves_alone_what_a_command_may_be_about_to_commit(
    lori_cl: Call, workspace: Workspace, loose: str
) -> None:
    young = workspace.artifacts.put(b"56", "jsonl")
    (entry,) = json.loads(lori_cl("gc", "--delete", "--json")[1])
    assert loose in entry["path"]
    assert workspace.artifacts.path(young, "jsonl").exists()
    assert young in lori_cl("gc", "--min-age", "0")[1]


def test_gc_leaves_all_alone_while_a_run_of_any_registry_is_under_way_and_says_so(
    lori_cl: Call, workspace: Workspace, loose: str
) -> None:
    with workspace.hold("elsewhere"):
        code, out, err = lori_cl("gc", "--delete")
    assert (code, out, workspace.artifacts.path(loose, "jsonl").exists()) == (0, "", True)
    assert "what is left over cannot be told: elsewhere is under way" in err


def test_gc_deletes_nothing_where_a_run_began_while_it_looked(
    lori_cl: Call, workspace: Workspace, loose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as began:

        def meanwhile(*arguments: Any) -> list[Leftover]:
            began.enter_context(workspace.hold("begun"))
            return leftovers(*arguments)

        monkeypatch.setattr("lori_cl.cli.gc.leftovers", meanwhile)
        code, out, err = lori_cl("gc", "--delete", "--json")
    assert (code, [entry["deleted"] for entry in json.loads(out)]) == (0, [False])
    assert workspace.artifacts.path(loose, "jsonl").exists()
    assert "begun is under way" in err


@pytest.mark.parametrize("by_url", [True, False], ids=["from the other registry", "from the first one"])
def test_gc_leaves_all_alone_where_another_registry_keeps_runs_in_the_workspace_and_says_which(
    lori_cl: Call, write_task: Write, workspace: Workspace, loose: str, tmp_path: Path, by_url: bool
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert lori_cl("--registry", other, "init")[0] == 0
    assert lori_cl("--registry", other, "add-task", write_task("a"))[0] == 0
    code, out, err = lori_cl(*(("--registry", other) if by_url else ()), "gc", "--delete")
    assert (code, out, workspace.artifacts.path(loose, "jsonl").exists()) == (0, "", True)
    assert err.startswith("what is left over cannot be told: ")
    assert ("registry.db" if by_url else str(tmp_path / "other.db")) in err


def test_gc_knows_a_workspace_whose_only_registry_is_named_by_a_url(
    lori_cl: Call, write_task: Write, workspace: Workspace, loose: str, tmp_path: Path
) -> None:
    (workspace.root / "registry.db").unlink()
    only = f"sqlite:///{tmp_path / 'only.db'}"
    lori_cl("--registry", only, "init")
    lori_cl("--registry", only, "add-task", write_task("a"))
    assert "1 left over, 4 bytes: deleted" in lori_cl("--registry", only, "gc", "--delete")[1]
