"""Runs that pass every check of verify, and what verify reports about them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lori_cl.errors import UnknownRun
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.adapter_import import import_folder
from lori_cl.serving.checks import RECORDS, SCORES
from lori_cl.serving.export import export
from lori_cl.serving.retire import retire_task
from lori_cl.serving.route import RouteOptions, route_run
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, stage_training
from tests.training.test_lori_modes import MODES, TRIED
from tests.training.test_lori_resume import remove_projection_fields
from tests.verify_checks import ALL_CHECKS

from .forging import findings, forge_tensors, remove_stage_records

TrainRun = Callable[..., Run]


@pytest.mark.parametrize("mode", TRIED)
def test_run_of_every_mode_passes_every_check(train_run: TrainRun, workspace: Workspace, mode: str) -> None:
    train_run("a", "b", "c", **MODES[mode])
    assert list(findings(workspace)) == ALL_CHECKS


def test_verify_reports_what_each_check_found(trained: Workspace) -> None:
    found = findings(trained)
    assert found["chain"].startswith("2 stages, each naming the one before")
    assert found["seeds"] == "14, each derived from the run's seed 0"
    assert found["projections"] == "projections A of 2 stages, 2 drawn again, 0 stored"
    assert found["ledger"] == "90 claimed + 358 free = 448 cells"
    assert found["matrix"] == "11 required scores, 0 others"
    assert found["statistics"] == "of 2 tasks"


@pytest.mark.parametrize("projection", ["orthogonal", "null-space"])
def test_projections_that_need_more_than_a_seed_are_checked_in_their_files(
    train_run: TrainRun, workspace: Workspace, projection: str
) -> None:
    train_run("a", "b", **MODES[projection])
    assert findings(workspace)["projections"] == "projections A of 2 stages, 0 drawn again, 2 stored"


def test_run_that_trains_projection_a_has_no_cells_to_check(
    train_run: TrainRun, workspace: Workspace
) -> None:
    train_run("a", "b", method="sequential-lora")
    found = findings(workspace)
    assert list(found) == [*RECORDS, *SCORES]


def test_run_with_reused_retired_cells_passes(train_run: TrainRun, workspace: Workspace) -> None:
    full = {"masks": {"strategy": "random", "density": 0.45}}
    train_run("a", "b", **full)
    retire_task(workspace, "run", "b")
    train_run("a", "b", "c", **full)
    assert findings(workspace)["ledger"] == "404 claimed + 44 free = 448 cells"


def test_run_with_an_imported_first_stage_passes(
    train_run: TrainRun, workspace: Workspace, tmp_path: Path, write_curriculum: Callable[..., Path]
) -> None:
    train_run("a", "b", seed=5)
    with workspace.read() as registry:
        export(load_run(workspace, registry, "run"), "a", tmp_path / "out")
    spec = load_curriculum(write_curriculum("a", "b"))
    import_folder(workspace, tmp_path / "out", spec, "second", None, RunOptions(), SilentProgress())
    train_run("a", "b", name="second")
    found = findings(workspace, "second")["projections"]
    assert found == "projections A of 2 stages, 0 drawn again, 2 stored"


def test_run_started_by_an_earlier_version_passes(train_run: TrainRun, workspace: Workspace) -> None:
    artifact = train_run("a").stages[0].artifact
    remove_projection_fields(workspace)
    remove_stage_records(workspace)
    with workspace.read() as registry:
        seeds = registry.run("run").stages[0].seeds
    newer_fields = ("base", "settings", "train_digest", "n_train", "n_truncated", "steps", "stands_on")
    forge_tensors(workspace, artifact, seeds=seeds, without=newer_fields)
    train_run("a", "b")
    found = findings(workspace)
    assert list(found) == ALL_CHECKS
    assert found["score chain"].startswith("1 of 2 stages, head ")
    assert "an earlier version recorded no score digests for stage 1" in found["score chain"]


def test_run_with_scores_cached_from_another_run_passes(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", name="one")
    train_run("a", "b", name="other")
    message = "8 cached scores, each equal to the measured score of the same inputs"
    assert findings(workspace, "other")["cached scores"] == message


def test_run_with_measured_scores_of_future_tasks_passes(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", options=RunOptions(measure_all=True, upper_triangle=True))
    found = findings(workspace)
    assert found["matrix"] == "8 required scores, 2 others"
    assert found["cached scores"].startswith("0 cached")


@pytest.mark.usefixtures("two_tasks")
def test_run_with_routed_scores_added_later_passes(train_run: TrainRun, workspace: Workspace) -> None:
    route_run(workspace, "run", RouteOptions(), SilentProgress())
    found = findings(workspace)
    assert found["matrix"] == "8 required scores, 2 others"
    message = "2 scores were added after the newest stage; the next stage's record covers them"
    assert message in found["score chain"]
    train_run("a", "b", "c")
    assert "added" not in findings(workspace)["score chain"]


def test_run_of_generation_tasks_passes(generation_run: LoadedRun) -> None:
    assert findings(generation_run.workspace)["scores"].endswith("each equal to the score of the answers")


def test_interrupted_run_and_run_with_a_changed_plan_pass(
    train_run: TrainRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stage_training, "run_job", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_run("a", "b")
    assert findings(workspace)["chain"].startswith("0 stages")
    train_run("a", "c")
    assert findings(workspace)["matrix"] == "8 required scores, 0 others"


def test_verify_writes_nothing(trained: Workspace) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in trained.root.rglob("*")}

    before = files()
    findings(trained)
    assert files() == before


def test_unknown_run_is_an_error(trained: Workspace) -> None:
    with pytest.raises(UnknownRun, match="Did you mean 'run'"):
        findings(trained, "rum")
