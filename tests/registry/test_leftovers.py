"""What nothing needs is found, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lori_cl.registry import Registry, Run, SetAside, Workspace, leftovers
from lori_cl.training import learning

Learn = Callable[..., Run]


def found(workspace: Workspace) -> dict[str, str]:
    with workspace.read() as registry:
        return {each.path.name: each.why for each in leftovers(workspace, registry)}


def test_a_finished_run_leaves_nothing(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b", train={"epochs": 1, "batch_size": 8, "max_length": 16, "save_steps": 1})
    assert found(workspace) == {}


def test_what_a_killed_stage_wrote_is_left_over_and_what_is_committed_is_not(
    learn: Learn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn("a", name="whole")
    loose = workspace.artifacts.put(b"a stage that was never committed", "safetensors")
    part = workspace.artifacts.folder / ".part-0123"
    part.write_bytes(b"half of")
    assert found(workspace) == {
        f"{loose}.safetensors": "nothing in the registry names it",
        ".part-0123": "its writing broke off",
    }


def test_checkpoints_of_a_run_under_way_are_needed_and_others_are_not(
    learn: Learn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "teach", die)
    with pytest.raises(KeyboardInterrupt):
        learn("a", name="under-way")
    for run in ("under-way", "gone"):
        (workspace.checkpoints / run / "train-0").mkdir(parents=True)
        (workspace.checkpoints / run / "train-0" / "optimizer.pt").write_bytes(b"123")
    assert found(workspace) == {"gone": "no run of this name is under way"}


def test_a_leftover_knows_its_size_and_age_and_goes_when_asked(workspace: Workspace) -> None:
    folder = workspace.checkpoints / "gone" / "train-0"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"123")
    with workspace.read() as registry:
        (leftover,) = leftovers(workspace, registry)
    assert (leftover.path, leftover.bytes) == (folder.parent, 3)
    assert 0 <= leftover.age_s < 3600
    leftover.remove()
    assert not folder.parent.exists()


def test_what_is_gone_already_is_as_good_as_removed(workspace: Workspace) -> None:
    workspace.artifacts.put(b"1", "jsonl")
    with workspace.read() as registry:
        (leftover,) = leftovers(workspace, registry)
    leftover.path.unlink()
    leftover.remove()


def test_what_vanishes_while_it_is_looked_at_is_left_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.artifacts.put(b"1", "jsonl")
    files = Registry.artifact_files

    def meanwhile(registry: Registry) -> frozenset[str]:
        for file in workspace.artifacts.folder.iterdir():
            file.unlink()
        return files(registry)

    monkeypatch.setattr(Registry, "artifact_files", meanwhile)
    assert found(workspace) == {}


def test_of_a_link_the_link_is_left_over_and_not_what_it_leads_to(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"12345")
    workspace.artifacts.folder.mkdir(exist_ok=True)
    for name, target in (("dangling", "nowhere"), ("folder", "kept")):
        (workspace.artifacts.folder / name).symlink_to(tmp_path / target)
    with workspace.read() as registry:
        links = leftovers(workspace, registry)
    assert [(link.path.name, link.bytes) for link in links] == [("dangling", 0), ("folder", 0)]
    for link in links:
        link.remove()
    assert list(workspace.artifacts.folder.iterdir()) == []
    assert (tmp_path / "kept" / "file").exists()


def set_aside(workspace: Workspace, run: Run, position: int) -> str:
    """Keep a stage aside at this position of the run; returns the digest of its one file."""
    sha256 = workspace.artifacts.put(b"what it learned", "safetensors")
    stage = replace(run.stages[0], position=position)
    SetAside({}, (), stage, [], {sha256: ("safetensors", 15)}, []).write(workspace.aside(run.name))
    return sha256


def test_a_stage_set_aside_is_left_over_with_its_files_once_another_was_committed_in_its_place(
    learn: Learn, workspace: Workspace
) -> None:
    run = learn("a")
    sha256 = set_aside(workspace, run, position=2)
    assert found(workspace) == {}
    set_aside(workspace, run, position=1)
    (workspace.aside("run").parent / ".part-0123").write_bytes(b"half of")
    assert found(workspace) == {
        "run.json": "its stage is committed",
        ".part-0123": "its writing broke off",
        f"{sha256}.safetensors": "nothing in the registry names it",
    }


def test_a_stage_set_aside_that_is_accepted_meanwhile_keeps_its_files(
    learn: Learn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = set_aside(workspace, learn("a"), position=2)
    read = SetAside.read

    def accepted_before(file: Path) -> SetAside | None:
        with workspace.open() as registry:
            registry.commit_stage("run", None, [], {sha256: ("safetensors", 15)})
        file.unlink()
        return read(file)

    monkeypatch.setattr(SetAside, "read", accepted_before)
    assert found(workspace) == {}
