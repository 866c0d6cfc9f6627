"""Garbage collection finds every unused file and no used one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lori_cl.registry import Registry, Run, ScoredStage, Workspace, find_garbage
from lori_cl.training import stage_training

TrainRun = Callable[..., Run]


def garbage_reasons(workspace: Workspace) -> dict[str, str]:
    with workspace.read() as registry:
        return {each.path.name: each.reason for each in find_garbage(workspace, registry)}


def test_finished_run_leaves_no_garbage(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", train={"epochs": 1, "batch_size": 8, "max_length": 16, "save_steps": 1})
    assert garbage_reasons(workspace) == {}


def test_uncommitted_files_are_garbage_and_committed_files_are_not(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a", name="whole")
    unused = workspace.artifacts.put(b"a stage that was never committed", "safetensors")
    part = workspace.artifacts.folder / ".part-0123"
    part.write_bytes(b"half of")
    assert garbage_reasons(workspace) == {
        f"{unused}.safetensors": "not referenced by the registry",
        ".part-0123": "incomplete write",
    }


def test_only_checkpoints_of_unfinished_runs_are_needed(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_training, "run_job", die)
    with pytest.raises(KeyboardInterrupt):
        train_run("a", name="under-way")
    for run in ("under-way", "gone"):
        (workspace.checkpoints / run / "train-0").mkdir(parents=True)
        (workspace.checkpoints / run / "train-0" / "optimizer.pt").write_bytes(b"123")
    assert garbage_reasons(workspace) == {"gone": "no unfinished run has this name"}


def test_garbage_file_has_size_and_age_and_can_be_removed(workspace: Workspace) -> None:
    folder = workspace.checkpoints / "gone" / "train-0"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"123")
    with workspace.read() as registry:
        (garbage_file,) = find_garbage(workspace, registry)
    assert (garbage_file.path, garbage_file.bytes) == (folder.parent, 3)
    assert 0 <= garbage_file.age_s < 3600
    garbage_file.remove()
    assert not folder.parent.exists()


def test_removing_a_deleted_garbage_file_is_no_error(workspace: Workspace) -> None:
    workspace.artifacts.put(b"1", "jsonl")
    with workspace.read() as registry:
        (garbage_file,) = find_garbage(workspace, registry)
    garbage_file.path.unlink()
    garbage_file.remove()


def test_file_deleted_during_the_search_is_not_listed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.artifacts.put(b"1", "jsonl")
    files = Registry.artifact_files

    def delete_files_first(registry: Registry) -> frozenset[str]:
        for file in workspace.artifacts.folder.iterdir():
            file.unlink()
        return files(registry)

    monkeypatch.setattr(Registry, "artifact_files", delete_files_first)
    assert garbage_reasons(workspace) == {}


def test_garbage_link_is_removed_without_its_target(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"12345")
    workspace.artifacts.folder.mkdir(exist_ok=True)
    for name, target in (("dangling", "nowhere"), ("folder", "kept")):
        (workspace.artifacts.folder / name).symlink_to(tmp_path / target)
    with workspace.read() as registry:
        links = find_garbage(workspace, registry)
    assert [(link.path.name, link.bytes) for link in links] == [("dangling", 0), ("folder", 0)]
    for link in links:
        link.remove()
    assert list(workspace.artifacts.folder.iterdir()) == []
    assert (tmp_path / "kept" / "file").exists()


def hold_back(workspace: Workspace, run: Run, position: int) -> str:
    """Hold back a stage at this position of the run; return the digest of its one file."""
    sha256 = workspace.artifacts.put(b"what it learned", "safetensors")
    stage = replace(run.stages[0], position=position)
    ScoredStage({}, (), stage, [], {sha256: ("safetensors", 15)}, []).write(
        workspace.held_back_file(run.name)
    )
    return sha256


def test_held_back_stage_is_garbage_after_another_stage_is_committed_in_its_place(
    train_run: TrainRun, workspace: Workspace
) -> None:
    run = train_run("a")
    sha256 = hold_back(workspace, run, position=2)
    assert garbage_reasons(workspace) == {}
    hold_back(workspace, run, position=1)
    (workspace.held_back_file("run").parent / ".part-0123").write_bytes(b"half of")
    assert garbage_reasons(workspace) == {
        "run.json": "its stage is committed",
        ".part-0123": "incomplete write",
        f"{sha256}.safetensors": "not referenced by the registry",
    }


def test_held_back_stage_accepted_during_the_search_keeps_its_files(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hold_back(workspace, train_run("a"), position=2)
    read = ScoredStage.read

    def accepted_before(file: Path) -> ScoredStage | None:
        with workspace.open() as registry:
            registry.commit_stage("run", None, [], {sha256: ("safetensors", 15)})
        file.unlink()
        return read(file)

    monkeypatch.setattr(ScoredStage, "read", accepted_before)
    assert garbage_reasons(workspace) == {}
