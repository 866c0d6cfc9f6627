"""lori-cl follows no link out of the workspace: tests of every path and every kind of link."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lori_cl.errors import LoriError, WorkspaceUnusable
from lori_cl.registry import Run, Workspace, find_garbage
from lori_cl.registry.safe_paths import open_inside, require_own_file, require_tree_inside

from .registry_records import add, contents, on_sqlite, run_start

TrainRun = Callable[..., Run]
Link = Callable[[Path, Path], None]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder outside the workspace, which lori-cl must neither read nor write."""
    folder = tmp_path / "outside"
    (folder / "folder" / "deep").mkdir(parents=True)
    for file in ("file", "file.db", "folder/file", "folder/deep/file"):
        (folder / file).write_text("precious")
    return folder


def to_file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "file")


def to_folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "folder")


def to_nothing(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "new")


def relative(place: Path, outside: Path) -> None:
    place.symlink_to(os.path.relpath(outside / "file", place.parent))


def to_another_link(place: Path, outside: Path) -> None:
    between = place.with_name(f"between-{place.name}")
    between.symlink_to(outside / "file")
    place.symlink_to(between.name)


def parent_is_a_link(place: Path, outside: Path) -> None:
    shutil.rmtree(place.parent)
    place.parent.symlink_to(outside / "folder")


LINKS: Mapping[str, Link] = {
    "to a file": to_file,
    "to a folder": to_folder,
    "to nothing": to_nothing,
    "relative": relative,
    "through another link": to_another_link,
    "its folder": parent_is_a_link,
}
RUN_PLACES = (
    "locks/run.json",
    "locks/run.lock",
    "aside/run.json",
    "checkpoints/run",
    "checkpoints/run/train-0/optimizer.pt",
    "logs/run",
    "logs/run/a-train/events",
)
REGISTRY_PLACES = ("registry.db", "registry.db-wal", "registry.db-shm", "registry.db-journal")


def place_link(workspace: Workspace, place: str, link: Link, outside: Path) -> None:
    path = workspace.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    link(path, outside)


@pytest.mark.parametrize("place", RUN_PLACES)
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_run_with_a_link_out_of_the_workspace_is_refused_before_it_starts(
    workspace: Workspace, outside: Path, place: str, link: Link
) -> None:
    place_link(workspace, place, link, outside)
    before = contents(outside)
    with pytest.raises(WorkspaceUnusable, match=r"leads out of|cannot be written"):
        check_and_lock(workspace)
    assert contents(outside) == before


def check_and_lock(workspace: Workspace) -> None:
    """Check the paths of a run and lock it, as every command that writes a run does."""
    workspace.check_paths("run")
    with workspace.lock("run"):
        pass


def test_training_writes_nothing_through_a_link(
    train_run: TrainRun, workspace: Workspace, outside: Path
) -> None:
    place_link(workspace, "checkpoints/run", to_folder, outside)
    before = contents(outside)
    with pytest.raises(WorkspaceUnusable, match=rf"checkpoints/run leads out of {workspace.root} "):
        train_run("a", train={"epochs": 1, "batch_size": 8, "max_length": 16, "save_steps": 1})
    assert contents(outside) == before
    with workspace.read() as registry:
        assert registry.runs() == []


@on_sqlite
@pytest.mark.parametrize("place", REGISTRY_PLACES)
@pytest.mark.parametrize("link", list(LINKS.values())[:-1], ids=list(LINKS)[:-1])
def test_a_registry_is_neither_read_nor_written_through_a_link(
    workspace: Workspace, outside: Path, place: str, link: Link
) -> None:
    place_link(workspace, place, link, outside)
    before = contents(outside)
    for attempt in (workspace.read, workspace.open, workspace.create, workspace.upgrade):
        with pytest.raises(WorkspaceUnusable, match="leads out of"):
            attempt()
    assert contents(outside) == before


@on_sqlite
@pytest.mark.parametrize("link", list(LINKS.values())[:-1], ids=list(LINKS)[:-1])
def test_registries_file_is_neither_read_nor_written_through_a_link(
    workspace: Workspace, tmp_path: Path, outside: Path, link: Link
) -> None:
    external_url = f"sqlite:///{tmp_path / 'other.db'}"
    shutil.copy(workspace.root / "registry.db", tmp_path / "other.db")
    place_link(workspace, "registries.txt", link, outside)
    before = contents(outside)
    with pytest.raises(WorkspaceUnusable, match="leads out of"):
        Workspace(workspace.root, external_url).open()
    with pytest.raises(WorkspaceUnusable, match="leads out of"):
        workspace.other_registries()
    assert contents(outside) == before


@on_sqlite
@pytest.mark.parametrize("place", ["aside", "artifacts", "checkpoints"])
def test_gc_neither_reads_nor_deletes_in_a_folder_that_leads_out(
    workspace: Workspace, outside: Path, place: str
) -> None:
    unused = workspace.artifacts.put(b"loose", "jsonl")
    with workspace.read() as registry:
        (garbage_file,) = find_garbage(workspace, registry)
    shutil.rmtree(workspace.root / place, ignore_errors=True)
    (outside / "folder" / f"{unused}.jsonl").write_text("precious")
    (workspace.root / place).symlink_to(outside / "folder")
    before = contents(outside)
    with workspace.read() as registry, pytest.raises(WorkspaceUnusable, match="leads out of"):
        find_garbage(workspace, registry)
    if place == "artifacts":
        with pytest.raises(WorkspaceUnusable, match="leads out of"):
            garbage_file.remove()
    assert contents(outside) == before


@on_sqlite
@pytest.mark.parametrize("link", list(LINKS.values())[:-1], ids=list(LINKS)[:-1])
@pytest.mark.parametrize("place", ["aside/run.json", "checkpoints/gone", "artifacts/loose"])
def test_gc_reads_and_deletes_nothing_behind_a_link(
    workspace: Workspace, outside: Path, place: str, link: Link
) -> None:
    place_link(workspace, place, link, outside)
    before = contents(outside)
    refusal = collect_garbage(workspace)
    assert refusal is None or ("leads out of" in refusal and "precious" not in refusal)
    assert contents(outside) == before


def collect_garbage(workspace: Workspace) -> str | None:
    """Remove the garbage; return the error message if that is refused."""
    try:
        with workspace.read() as registry:
            for garbage_file in find_garbage(workspace, registry):
                garbage_file.remove()
    except LoriError as error:
        return str(error)
    return None


def hard_link(workspace: Workspace, place: str, outside: Path, of: str = "file") -> None:
    path = workspace.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.hardlink_to(outside / of)


@on_sqlite
def test_hard_linked_registry_is_readable_but_not_writable(workspace: Workspace, outside: Path) -> None:
    shutil.copy(workspace.root / "registry.db", outside / "file.db")
    hard_link(workspace, "registry.db", outside, "file.db")
    before = contents(outside)
    with workspace.read() as registry:
        assert registry.runs() == []
    for attempt in (workspace.open, workspace.create, workspace.upgrade):
        with pytest.raises(WorkspaceUnusable, match=r"has 2 hard links, .*cp registry\.db"):
            attempt()
    assert contents(outside) == before


@on_sqlite
@pytest.mark.parametrize("place", ["locks/run.json", "registries.txt"])
def test_hard_linked_file_is_not_changed_in_place(
    workspace: Workspace, tmp_path: Path, outside: Path, place: str
) -> None:
    shutil.copy(workspace.root / "registry.db", tmp_path / "other.db")
    hard_link(workspace, place, outside)
    before = contents(outside)
    with pytest.raises(WorkspaceUnusable, match="has 2 hard links, "):
        open_and_lock(Workspace(workspace.root, f"sqlite:///{tmp_path / 'other.db'}"))
    assert contents(outside) == before


def open_and_lock(workspace: Workspace) -> None:
    """Write the list of registries and the record of a lock's owner."""
    with workspace.open(), workspace.lock("run"):
        pass


@on_sqlite
def test_replacing_a_hard_linked_file_leaves_the_other_link_unchanged(
    workspace: Workspace, outside: Path
) -> None:
    sha256 = workspace.artifacts.put(b"content", "jsonl")
    hard_link(workspace, f"artifacts/{sha256}.jsonl", outside)
    before = contents(outside)
    assert workspace.artifacts.put(b"content", "jsonl") == sha256
    assert workspace.artifacts.get(sha256, "jsonl") == b"content"
    assert contents(outside) == before


def test_incomplete_checkpoint_is_removed_and_not_overwritten(
    train_run: TrainRun, workspace: Workspace, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lori_cl.training import trainer

    before, save = contents(outside), trainer.JobTrainer._save_checkpoint

    def save_over_hard_links(self: trainer.JobTrainer, *arguments: object) -> None:
        folder = Path(str(self._job.checkpoints)) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True)
        for name in ("optimizer.pt", "trainer_state.json", "trained.safetensors"):
            (folder / name).hardlink_to(outside / "file")
        save(self, *arguments)

    monkeypatch.setattr(trainer.JobTrainer, "_save_checkpoint", save_over_hard_links)
    train_run("a", train={"epochs": 1, "batch_size": 8, "max_length": 16, "save_steps": 1})
    assert contents(outside) == before


@on_sqlite
@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".", "", "a\\b", "a\0b"])
def test_run_name_that_is_a_path_is_not_a_valid_file_name(workspace: Workspace, name: str) -> None:
    for place in (
        workspace.held_back_file,
        workspace.checkpoints_of,
        workspace.logs_of,
        workspace.check_paths,
    ):
        with pytest.raises(WorkspaceUnusable, match="is not a valid file name"):
            place(name)
    with workspace.open() as registry:  # a registry may contain such a name
        registry.begin_run(run_start(add(registry, "sst2"), name or "empty"))
        assert len(registry.runs()) == 1


def test_link_inside_the_workspace_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("inside")
    (tmp_path / "link").symlink_to("real")
    with open_inside(tmp_path, tmp_path / "link" / "file", "r") as file:
        assert file.read() == "inside"
    require_tree_inside(tmp_path, tmp_path)
    require_own_file(tmp_path / "link" / "file")


def test_opening_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open_inside(tmp_path, tmp_path / "pipe", "r") as file:
        assert file.read() == ""
    with pytest.raises(OSError, match="No such device"):
        open_inside(tmp_path, tmp_path / "pipe", "w")
