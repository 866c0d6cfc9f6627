from __future__ import annotations

from pathlib import Path

import pytest

from lori_cl.registry import Workspace


def test_a_folder_in_the_workspace_is_kept_relative_so_that_the_workspace_can_move(tmp_path: Path) -> None:
    kept = Workspace(tmp_path / "here").relative(tmp_path / "here" / "tasks" / "bench")
    assert kept == "tasks/bench"
    assert Workspace(tmp_path / "there").folder_of(kept) == tmp_path / "there" / "tasks" / "bench"


def test_a_folder_elsewhere_is_kept_absolute(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "here")
    kept = workspace.relative(tmp_path / "elsewhere")
    assert kept == str(tmp_path / "elsewhere")
    assert workspace.folder_of(kept) == tmp_path / "elsewhere"


def test_a_neighbour_whose_name_begins_alike_is_not_inside(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "here").relative(tmp_path / "here2") == str(tmp_path / "here2")


def test_the_workspaces_own_folder_is_a_dot(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.folder_of(workspace.relative(tmp_path)) == tmp_path
    assert workspace.relative(tmp_path) == "."


def test_a_relative_folder_is_meant_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path / "tasks")
    assert Workspace(Path("..")).relative(Path()) == "tasks"


def test_artifacts_lie_in_the_workspace(workspace: Workspace) -> None:
    name = workspace.artifacts.put(b"content", "jsonl")
    assert (workspace.root / "artifacts" / f"{name}.jsonl").read_bytes() == b"content"
