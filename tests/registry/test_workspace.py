from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from lori_cl.errors import ArtifactDamaged, WorkspaceUnusable
from lori_cl.registry import Workspace

from .registry_records import contents, eval_set, on_sqlite, task_spec


def test_folder_in_the_workspace_is_stored_as_a_relative_path(tmp_path: Path) -> None:
    stored = Workspace(tmp_path / "here").relative(tmp_path / "here" / "tasks" / "bench")
    assert stored == "tasks/bench"
    assert Workspace(tmp_path / "there").folder_of(stored) == tmp_path / "there" / "tasks" / "bench"


def test_folder_outside_the_workspace_is_stored_as_an_absolute_path(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "here")
    stored = workspace.relative(tmp_path / "elsewhere")
    assert stored == str(tmp_path / "elsewhere")
    assert workspace.folder_of(stored) == tmp_path / "elsewhere"


def test_sibling_folder_with_the_same_name_prefix_is_outside(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "here").relative(tmp_path / "here2") == str(tmp_path / "here2")


def test_workspace_root_is_stored_as_a_dot(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.folder_of(workspace.relative(tmp_path)) == tmp_path
    assert workspace.relative(tmp_path) == "."


def test_relative_folder_is_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path / "tasks")
    assert Workspace(Path("..")).relative(Path()) == "tasks"


def test_artifacts_are_stored_in_the_workspace(workspace: Workspace) -> None:
    name = workspace.artifacts.put(b"content", "jsonl")
    assert (workspace.root / "artifacts" / f"{name}.jsonl").read_bytes() == b"content"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder outside the workspace, which lori-cl must neither read nor write."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    return folder


@on_sqlite
def test_artifacts_folder_that_links_out_of_the_workspace_is_refused(
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


def test_artifact_that_links_out_of_the_workspace_is_neither_read_nor_written(
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
def test_registry_that_links_out_of_the_workspace_is_refused(workspace: Workspace, outside: Path) -> None:
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
def test_links_inside_the_workspace_and_a_linked_workspace_are_followed(
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
def test_artifact_name_that_is_not_a_digest_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(WorkspaceUnusable, match="which is not a SHA-256 digest"):
        workspace.artifacts.get(name, "jsonl")


@on_sqlite
def test_artifact_that_is_a_pipe_is_refused_without_blocking(workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "artifacts" / f"{'a' * 64}.jsonl")
    with pytest.raises(ArtifactDamaged, match="is not a regular file"):
        workspace.artifacts.get("a" * 64, "jsonl")


@pytest.mark.parametrize("declared_in", ["..", "tasks/../../outside", "link"])
def test_relative_folder_in_the_registry_that_leads_out_is_refused(
    workspace: Workspace, outside: Path, declared_in: str
) -> None:
    (workspace.root / "link").symlink_to(outside)
    with pytest.raises(WorkspaceUnusable, match="leads out of"):
        workspace.folder_of(declared_in)


def test_link_to_itself_is_refused(workspace: Workspace) -> None:
    (workspace.root / "logs").symlink_to("logs")
    with pytest.raises(WorkspaceUnusable, match="leads out of"):
        workspace.path("logs", "run")
