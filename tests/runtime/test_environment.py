"""The environment is recorded with each stage and compared when a run is resumed."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lori_cl.errors import Interrupted, RunConflict
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import environment
from lori_cl.training import RunOptions, run_setup, stage_training, trainer
from tests.training.test_checkpoints import EndingProgress

TrainRun = Callable[..., Run]
ALLOWED = RunOptions(allow_environment_change=True)


@pytest.fixture
def change_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that replaces values of the recorded environment; None removes a field."""
    found = environment.environment

    def change(**values: Any) -> None:
        def here(folder: Path) -> Mapping[str, Any]:
            changed = {**found(folder), **values}
            return {field: value for field, value in changed.items() if value is not None}

        monkeypatch.setattr(run_setup, "environment", here)

    return change


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a `git` on the path that runs a shell script."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "git"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


def test_run_and_stages_record_versions_machine_threads_and_flags(train_run: TrainRun) -> None:
    run = train_run("a")
    recorded = run.environment
    assert recorded["torch"] == torch.__version__
    assert (recorded["threads"], recorded["processes"], recorded["deterministic"]) == (1, 1, "warn")
    assert {"python", "transformers", "peft", "numpy", "tokenizers", "platform", "device"} <= recorded.keys()
    assert [stage.environment for stage in run.stages] == [recorded]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"threads": 7},
            r"threads 1 \(now 7\), which can .* set OMP_NUM_THREADS=1\. .*--allow-environment-ch",
        ),
        (
            {"numpy": "1.0"},
            r"numpy \S+ \(now 1\.0\), which can change results\. To restore them: pip install numpy==",
        ),
        ({"machine": "m68k"}, r"machine \w+ \(now m68k\), which can change results\. To resume here"),
        (
            {"cpu_capability": "VSX"},
            r"cpu_capability [\w ]+ \(now VSX\), which can change results\. To resume",
        ),
        ({"deterministic": "off"}, r"deterministic warn \(now off\)"),
        ({"scikit_learn": "1.0", "processes": 2}, r"scikit_learn \S+ \(now 1\.0\), processes 1 \(now 2\)"),
    ],
)
def test_run_is_not_resumed_in_an_environment_that_can_change_results(
    train_run: TrainRun,
    change_environment: Callable[..., None],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
) -> None:
    before = train_run("a")
    change_environment(**change)
    monkeypatch.setattr(stage_training, "run_job", lambda *_: pytest.fail("trained"))
    with pytest.raises(RunConflict, match=rf"^run 'run': stage 1 was computed with {message}"):
        train_run("a", "b")
    with workspace.read() as registry:
        assert registry.run("run") == before


def test_run_interrupted_before_its_first_stage_is_compared_with_its_start(
    train_run: TrainRun, change_environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stage_training, "run_job", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_run("a")
    change_environment(threads=7)
    with pytest.raises(RunConflict, match=r"run 'run': it was started with threads 1 \(now 7\)"):
        train_run("a")


def test_allowed_change_makes_the_newest_stage_the_reference(
    train_run: TrainRun, change_environment: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    train_run("a")
    change_environment(threads=7, torch="99.0")
    run = train_run("a", "b", options=ALLOWED)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"run 'run': torch was {torch.__version__} when stage 1 was computed, and is 99.0 now",
        "run 'run': threads was 1 when stage 1 was computed, and is 7 now",
    ]
    assert [run.environment_of(stage)["threads"] for stage in run.stages] == [1, 7]
    assert run.environment["threads"] == 1
    assert train_run("a", "b", "c").status == "done"


def test_changes_without_effect_on_results_are_logged_in_one_line_each(
    train_run: TrainRun, change_environment: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    change_environment(git_revision="c0ffee", platform="Linux-1", datasets="1.0")
    train_run("a")
    change_environment(git_revision="decade", platform="Linux-2", datasets="1.0")
    assert train_run("a", "b").status == "done"
    recorded = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert recorded == [
        "run 'run': platform was Linux-1 when stage 1 was computed, and is Linux-2 now",
        "run 'run': git_revision was c0ffee when stage 1 was computed, and is decade now",
    ]


def test_missing_recorded_fields_are_not_differences(
    train_run: TrainRun, change_environment: Callable[..., None]
) -> None:
    change_environment(tokenizers=None, deterministic=None, processes=None)
    train_run("a")
    change_environment()
    assert train_run("a", "b").status == "done"


def test_finished_run_is_never_refused(train_run: TrainRun, change_environment: Callable[..., None]) -> None:
    run = train_run("a")
    change_environment(threads=7, torch="99.0")
    assert train_run("a") == run


def test_git_revision_is_read_in_the_curriculum_folder(
    train_run: TrainRun, git: Callable[[str], None], tmp_path: Path
) -> None:
    git(f'test "$1 $2" = "-C {tmp_path}/curricula" && echo c0ffee')
    run = train_run("a", options=RunOptions(declared_in=tmp_path / "curricula"))
    assert run.environment["git_revision"] == "c0ffee"


def test_git_revision_is_read_in_the_workspace_without_a_curriculum_folder(
    train_run: TrainRun, git: Callable[[str], None], workspace: Workspace
) -> None:
    git(f'test "$1 $2" = "-C {workspace.root}" && echo c0ffee')
    assert train_run("a").environment["git_revision"] == "c0ffee"


@pytest.mark.parametrize("script", ["exit 128", "exec sleep 60"], ids=["no repository", "hangs"])
def test_failing_git_gives_no_revision(
    git: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(environment, "GIT_TIMEOUT_S", 0.1)
    git(script)
    assert environment.git_revision(tmp_path) is None


def test_missing_git_gives_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_revision(tmp_path) is None


def test_stage_started_in_another_environment_is_trained_from_its_first_step(
    train_run: TrainRun, change_environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"epochs": 3, "batch_size": 8, "lr": 0.01, "max_length": 16, "save_steps": 1}  # 6 steps
    train_run("a", train=train)
    change_environment(threads=7)
    with pytest.raises(Interrupted):
        train_run(
            "a", "b", train=train, options=ALLOWED, progress=EndingProgress(Interrupted, "2/2 b: training", 4)
        )
    change_environment()
    step, steps = trainer.Trainer.training_step, []
    monkeypatch.setattr(trainer.Trainer, "training_step", lambda *given: (steps.append(1), step(*given))[1])
    run = train_run("a", "b", train=train)
    assert [run.environment_of(stage)["threads"] for stage in run.stages] == [1, 1]
    assert len(steps) == run.stages[1].steps == 6
