"""What nothing needs is found, and nothing else."""

from collections.abc import Callable

import pytest

from lori_cl.registry import Run, Workspace, leftovers
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
