import json
import os
from collections.abc import Callable

import pytest

from lori_cl.registry import Run, Workspace

Call = Callable[..., tuple[int, str, str]]


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


def test_gc_leaves_artifacts_alone_while_a_run_is_under_way_and_says_so(
    lori_cl: Call, learn: Callable[..., Run], workspace: Workspace, loose: str
) -> None:
    learn("a")
    with workspace.hold("run"):
        code, out, err = lori_cl("gc", "--delete")
    assert (code, workspace.artifacts.path(loose, "jsonl").exists()) == (0, True)
    assert "nothing is left over" in out
    assert "artifacts were left out: run is under way" in err
