from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from lori_cl.errors import ArtifactDamaged, WorkspaceUnusable
from lori_cl.registry import Workspace

from .registry_records import contents, eval_set, on_sqlite, task_spec


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


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing in a workspace may read or write."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    return folder


@on_sqlite
def test_an_artifacts_folder_that_is_a_link_to_elsewhere_is_refused(
    workspace: Workspace, outside: Path
) -> None:
    shutil.rmtree(workspace.root / "artifacts")
    (workspace.root / "artifacts").symlink_to(outside)
    before = contents(outside)
    with pytest.raises(WorkspaceUnusable, match=rf"leads out of {workspace.root} \(to {outside}\)"):
        workspace.artifacts.put(b"content", "jsonl")
    with pytest.raises(WorkspaceUnusable):
        workspace.create()
    assert contents(outside) == before


def test_an_artifact_that_is_a_link_to_elsewhere_is_neither_read_nor_written(
    workspace: Workspace, outside: Path
) -> None:
    store = workspace.artifacts
    name = store.put(b"content", "jsonl")
    shutil.move(store.path(name, "jsonl"), outside / "moved")
    (store.folder / f"{name}.jsonl").symlink_to(outside / "moved")
    before = contents(outside)
    for attempt in (lambda: store.get(name, "jsonl"), lambda: store.put(b"content", "jsonl")):
        with pytest.raises(WorkspaceUnusable, match=rf"\(to {outside / 'moved'}\)"):
            attempt()
    assert contents(outside) == before


@on_sqlite
def test_a_registry_that_is_a_link_to_elsewhere_is_refused(workspace: Workspace, outside: Path) -> None:
    shutil.move(workspace.root / "registry.db", outside / "registry.db")
    (workspace.root / "registry.db").symlink_to(outside / "registry.db")
    before = contents(outside)
    for attempt in (workspace.read, workspace.open, workspace.create):
        with pytest.raises(WorkspaceUnusable, match=r"leads out of .*--registry"):
            attempt()
    assert contents(outside) == before
    with Workspace(workspace.root, f"sqlite:///{outside / 'registry.db'}").read() as registry:
        assert registry.tasks() == []


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_a_link_in_place_of_sqlites_own_files_is_not_written_through(
    workspace: Workspace, outside: Path, side: str
) -> None:
    (workspace.root / f"registry.db{side}").symlink_to(outside / "precious")
    before = contents(outside)
    with contextlib.suppress(WorkspaceUnusable), workspace.open() as registry:
        registry.add_task(task_spec(), eval_set(), "tasks")
    assert contents(outside) == before


@on_sqlite
def test_links_that_stay_in_the_workspace_and_a_workspace_that_is_one_are_followed(
    workspace: Workspace, tmp_path: Path
) -> None:
    (workspace.root / "artifacts").rename(workspace.root / "files")
    (workspace.root / "artifacts").symlink_to("files")
    (tmp_path / "link").symlink_to(workspace.root)
    linked = Workspace(tmp_path / "link")
    name = linked.artifacts.put(b"content", "jsonl")
    assert workspace.artifacts.get(name, "jsonl") == b"content"
    with linked.read() as registry:
        assert registry.tasks() == []


@pytest.mark.parametrize(
    "name", ["../precious", "/etc/passwd", "", "a" * 63, "A" * 64, f"{'a' * 64}\n", "\0"]
)
def test_an_artifacts_name_is_a_digest_and_no_path(workspace: Workspace, name: str) -> None:
    with pytest.raises(WorkspaceUnusable, match="which is no SHA-256"):
        workspace.artifacts.get(name, "jsonl")


@on_sqlite
def test_an_artifact_that_is_a_pipe_is_not_waited_at(workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "artifacts" / f"{'a' * 64}.jsonl")
    with pytest.raises(ArtifactDamaged, match="is no file"):
        workspace.artifacts.get("a" * 64, "jsonl")


@pytest.mark.parametrize("declared_in", ["..", "tasks/../../outside", "link"])
def test_a_folder_that_the_registry_names_relatively_lies_in_the_workspace(
    workspace: Workspace, outside: Path, declared_in: str
) -> None:
    (workspace.root / "link").symlink_to(outside)
    with pytest.raises(WorkspaceUnusable, match="leads out of"):
        workspace.folder_of(declared_in)


def test_a_link_to_itself_leads_nowhere(workspace: Workspace) -> None:
    (workspace.root / "logs").symlink_to("logs")
    with pytest.raises(WorkspaceUnusable, match="leads out of"):
        workspace.place("logs", "run")
