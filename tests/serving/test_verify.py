"""What passes every check, and what verify is certain of then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import UnknownRun
from lori_cl.registry import Run, Workspace
from lori_cl.serving.checks import CHECKS
from lori_cl.serving.export import export
from lori_cl.serving.importing import import_folder
from lori_cl.serving.retire import retire_task
from lori_cl.serving.route import RouteOptions, route_run
from lori_cl.spec import load_curriculum
from lori_cl.training import LoadedRun, RunOptions, SilentObserver, learning, load_run
from tests.training.test_lori_modes import MODES
from tests.training.test_lori_resume import as_an_earlier_version_left_it

from .forging import forge_tensors, forget_records, told

Learn = Callable[..., Run]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_a_run_of_any_mode_passes_every_check(
    learn: Learn, workspace: Workspace, mode: dict[str, Any]
) -> None:
    learn("a", "b", "c", **mode)
    assert list(told(workspace)) == list(CHECKS)


def test_a_run_says_what_it_is_certain_of(learned: Workspace) -> None:
    found = told(learned)
    assert found["chain"].startswith("2 stages, each naming the one before")
    assert found["seeds"] == "14, each derived from the run's seed 0"
    assert found["projections"] == "the A's of 2 stages, 2 drawn again and 0 stored"
    assert found["ledger"] == "90 claimed + 358 free = 448 cells"
    assert found["matrix"] == "11 scores that must be there, and 0 others"
    assert found["statistics"] == "of 2 tasks"


@pytest.mark.parametrize("projection", ["orthogonal", "null-space"])
def test_as_that_depend_on_more_than_a_seed_are_checked_in_their_files(
    learn: Learn, workspace: Workspace, projection: str
) -> None:
    learn("a", "b", **MODES[projection])
    assert told(workspace)["projections"] == "the A's of 2 stages, 0 drawn again and 2 stored"


def test_a_run_that_trains_its_a_has_no_cells_to_check(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b", method="sequential-lora")
    found = told(workspace)
    assert {found[check].partition(":")[0] for check in ("projections", "masks", "ledger")} == {"none"}


def test_a_run_passes_whose_retired_cells_were_claimed_again(learn: Learn, workspace: Workspace) -> None:
    full = {"masks": {"strategy": "random", "density": 0.45}}
    learn("a", "b", **full)
    retire_task(workspace, "run", "b")
    learn("a", "b", "c", **full)
    assert told(workspace)["ledger"] == "404 claimed + 44 free = 448 cells"


def test_an_imported_first_stage_passes(
    learn: Learn, workspace: Workspace, tmp_path: Path, write_curriculum: Callable[..., Path]
) -> None:
    learn("a", "b", seed=5)
    with workspace.read() as registry:
        export(load_run(workspace, registry, "run"), "a", tmp_path / "out")
    spec = load_curriculum(write_curriculum("a", "b"))
    import_folder(workspace, tmp_path / "out", spec, "second", None, RunOptions(), SilentObserver())
    learn("a", "b", name="second")
    assert told(workspace, "second")["projections"] == "the A's of 2 stages, 0 drawn again and 2 stored"


def test_a_run_that_an_earlier_version_began_passes(learn: Learn, workspace: Workspace) -> None:
    artifact = learn("a").stages[0].artifact
    as_an_earlier_version_left_it(workspace)
    forget_records(workspace)
    with workspace.read() as registry:
        seeds = registry.run("run").stages[0].seeds
    later = ("base", "settings", "train_digest", "n_train", "n_truncated", "steps", "stands_on")
    forge_tensors(workspace, artifact, seeds=seeds, without=later)
    learn("a", "b")
    found = told(workspace)
    assert list(found) == list(CHECKS)
    assert found["score chain"].startswith("1 of 2 stages, head ")
    assert "an earlier version recorded no digest of the scores of stage 1" in found["score chain"]


def test_scores_pass_that_were_taken_over_from_another_run(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b", name="one")
    learn("a", "b", name="other")
    said = "8 proved scores, each equal to the measured one of the same inputs"
    assert told(workspace, "other")["proofs"] == said


def test_scores_pass_that_were_all_measured_and_taken_early(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b", options=RunOptions(measure_all=True, upper_triangle=True))
    found = told(workspace)
    assert found["matrix"] == "8 scores that must be there, and 2 others"
    assert found["proofs"].startswith("0 proved")


def test_scores_pass_that_were_routed_later(learn: Learn, workspace: Workspace) -> None:
    learn("a", "b")
    route_run(workspace, "run", RouteOptions(), SilentObserver())
    found = told(workspace)
    assert found["matrix"] == "8 scores that must be there, and 2 others"
    assert "2 scores were added after the newest stage, and the next one covers them" in found["score chain"]
    learn("a", "b", "c")
    assert "added" not in told(workspace)["score chain"]


def test_what_a_language_model_wrote_passes(writing_run: LoadedRun) -> None:
    assert told(writing_run.workspace)["scores"].endswith("each what they are worth")


def test_a_run_that_was_stopped_passes_and_one_whose_plan_was_changed(
    learn: Learn, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(learning, "teach", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            learn("a", "b")
    assert told(workspace)["chain"].startswith("0 stages")
    learn("a", "c")
    assert told(workspace)["matrix"] == "8 scores that must be there, and 0 others"


def test_verifying_writes_nothing(learned: Workspace) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in learned.root.rglob("*")}

    before = files()
    told(learned)
    assert files() == before


def test_a_run_that_nobody_began_is_unknown(learned: Workspace) -> None:
    with pytest.raises(UnknownRun, match="Did you mean 'run'"):
        told(learned, "rum")
