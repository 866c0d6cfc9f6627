"""A cached score is used only if its answers file exists, is complete and has the same outcomes."""

import json
import logging
from collections.abc import Callable

import pytest

from lori_cl.errors import ArtifactMissing, RegressionFound
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.route import RouteOptions, route_run
from lori_cl.training import Gate, RunOptions
from tests.serving.forging import findings, forge

TrainRun = Callable[..., Run]
ROUTED = {"batch_size": 4, "views": ["as_trained", "current", "routed"]}


def base_answers(workspace: Workspace, run: str = "run") -> str:
    with workspace.read() as registry:
        return next(e.answers for e in registry.evaluations(run) if (e.stage, e.task) == (0, "a"))


def delete(workspace: Workspace, sha256: str) -> None:
    workspace.artifacts.path(sha256, "jsonl").unlink()


def damage(workspace: Workspace, sha256: str) -> None:
    path = workspace.artifacts.path(sha256, "jsonl")
    path.write_bytes(path.read_bytes()[:-9])


def shorten(workspace: Workspace, sha256: str) -> None:
    content = workspace.artifacts.get(sha256, "jsonl").splitlines(keepends=True)
    forge(workspace, sha256, "jsonl", b"".join(content[:-1]))


def invert(workspace: Workspace, sha256: str) -> None:
    content = workspace.artifacts.get(sha256, "jsonl")
    turned = content.replace(b'"outcome": 1.0', b'"outcome": x').replace(b'"outcome": 0.0', b'"outcome": 1.0')
    forge(workspace, sha256, "jsonl", turned.replace(b'"outcome": x', b'"outcome": 0.0'))


@pytest.mark.parametrize(
    ("damage_file", "message"),
    [
        (delete, "is missing, but the registry refers to it"),
        (damage, "its content has digest"),
        (shorten, "holds 7 answers, and the score is over 8"),
        (invert, "holds other outcomes than the registry"),
    ],
    ids=["missing", "damaged", "too few answers", "other outcomes"],
)
def test_score_without_its_answers_is_measured_again_and_the_new_run_verifies(
    train_run: TrainRun,
    workspace: Workspace,
    caplog: pytest.LogCaptureFixture,
    damage_file: Callable[[Workspace, str], None],
    message: str,
) -> None:
    train_run("a", name="first")
    damage_file(workspace, base_answers(workspace, "first"))
    with caplog.at_level(logging.WARNING):
        train_run("a", name="second")
    lines = [line for line in caplog.messages if "cached score of a" in line]
    assert lines
    assert all(message in line and "is measured again" in line for line in lines)
    findings(workspace, "second")
    with workspace.read() as registry:
        sources = {(e.stage, e.view): e.source for e in registry.evaluations("second")}
    assert sources[0, "base"] == "measured"
    assert sources[1, "current"] == "cached"


def test_measuring_again_restores_a_lost_answers_file(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", name="first")
    delete(workspace, base_answers(workspace, "first"))
    train_run("a", name="second")
    findings(workspace, "first")


def test_routed_score_without_its_answers_is_measured_again(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", eval=ROUTED, name="first")
    with workspace.read() as registry:
        routed_answers = {e.answers for e in registry.evaluations("first") if e.view == "routed"}
    for sha256 in routed_answers:
        delete(workspace, sha256)
    train_run("a", "b", name="second")
    route_run(workspace, "second", RouteOptions(), SilentProgress())
    findings(workspace, "second")


def test_lost_statistics_are_gathered_again(
    train_run: TrainRun, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    train_run("a", eval=ROUTED)
    with workspace.read() as registry:
        (statistics,) = registry.statistics("run")
    workspace.artifacts.path(statistics.artifact, "safetensors").unlink()
    train_run("a", "b", eval=ROUTED)
    assert any("the statistics of a are gathered again" in line for line in caplog.messages)
    findings(workspace)


def test_held_back_stage_is_not_committed_without_its_files(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run("a")
    with monkeypatch.context() as patch:
        patch.setattr(Gate, "drops", lambda *_: ["'a' fell"])
        with pytest.raises(RegressionFound):
            train_run("a", "b", options=RunOptions(gate=Gate(1.0)))
    held_back = workspace.held_back_file("run")
    sha256 = json.loads(held_back.read_text())["stage"]["artifact"]
    workspace.artifacts.path(sha256, "safetensors").unlink()
    accepted = RunOptions(accept="b")
    with pytest.raises(ArtifactMissing, match=r"^stage 2 b, which is held back, cannot be committed: "):
        train_run("a", "b", options=accepted)
    held_back.unlink()
    assert len(train_run("a", "b").stages) == 2
    findings(workspace)
