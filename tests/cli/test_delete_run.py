"""The command `lori-cl delete-run`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.registry import Run, Workspace

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def first(train_run: Callable[..., Run]) -> Run:
    return train_run("a", name="first")


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def runs(workspace: Workspace) -> list[str]:
    with workspace.read() as registry:
        return [run.name for run in registry.run_summaries()]


@pytest.mark.usefixtures("first")
def test_a_run_is_deleted_only_after_a_yes(
    lori_cl: Call, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("", "n\n", "\n"):
        answer(monkeypatch, text)
        code, out, err = lori_cl("delete-run", "first")
        assert (code, out, runs(workspace)) == (2, "", ["first"])
        assert "Delete run first: 1 stage, 3 scores? [y/N]" in err
        assert "run 'first' was not deleted; answer y, or add --yes" in err
    answer(monkeypatch, "y\n")
    code, out, _ = lori_cl("delete-run", "first")
    assert (code, runs(workspace)) == (0, [])
    assert out.startswith("Deleted run first: 1 stage, 3 scores.\nNo other run uses ")


@pytest.mark.usefixtures("first")
def test_dry_run_asks_nothing_and_deletes_nothing(lori_cl: Call, workspace: Workspace) -> None:
    code, out, err = lori_cl("delete-run", "first", "--dry-run")
    assert (code, err, runs(workspace)) == (0, "", ["first"])
    assert out.startswith("Would delete run first: 1 stage, 3 scores.\n")
    planned = json.loads(lori_cl("delete-run", "first", "--dry-run", "--json")[1])
    done = json.loads(lori_cl("delete-run", "first", "--yes", "--json")[1])
    assert done == {**planned, "deleted": True}


@pytest.mark.usefixtures("first")
def test_run_of_the_same_name_trains_again_after_the_deletion(
    lori_cl: Call, workspace: Workspace, train_run: Callable[..., Run], first: Run
) -> None:
    lori_cl("delete-run", "first", "--yes")
    assert train_run("a", name="first").stages[0].artifact == first.stages[0].artifact
    assert lori_cl("verify", "first")[0] == 0


def test_deletion_that_would_break_another_run_is_refused_before_the_question(
    lori_cl: Call, workspace: Workspace, first: Run, train_run: Callable[..., Run]
) -> None:
    train_run("a", name="second", train={"epochs": 2, "batch_size": 8, "max_length": 16})
    code, out, err = lori_cl("delete-run", "first")
    assert (code, out, runs(workspace)) == (2, "", ["first", "second"])
    assert err.startswith(
        "RunConflict: run 'first' cannot be deleted: 1 score of run 'second' cached from it"
    )
    assert lori_cl("delete-run", "second", "--yes")[0] == 0
    assert lori_cl("verify", "first")[0] == 0


def test_gc_deletes_the_files_of_a_deleted_run(lori_cl: Call, workspace: Workspace, first: Run) -> None:
    file = workspace.artifacts.path(first.stages[0].artifact, "safetensors")
    lori_cl("delete-run", "first", "--yes")
    assert file.exists()
    lori_cl("gc", "--delete", "--min-age", "0")
    assert not file.exists()
    kept = {path.name for path in Path(workspace.artifacts.folder).iterdir()}
    assert kept == {f"{first.tasks[0].eval_set.digest}.jsonl"}
