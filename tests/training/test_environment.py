"""What stages are computed with: recorded with each, compared when a run goes on."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lori_cl.errors import Interrupted, RunConflict
from lori_cl.registry import Run, Workspace
from lori_cl.training import RunOptions, environment, learning, lesson_trainer, sequence

from .test_checkpoints import Ends

Learn = Callable[..., Run]
ALLOWED = RunOptions(allow_environment_change=True)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From now on, the environment with these values in place of its own; None leaves a field out."""
    found = environment.environment

    def change(**values: Any) -> None:
        def here(folder: Path) -> Mapping[str, Any]:
            changed = {**found(folder), **values}
            return {field: value for field, value in changed.items() if value is not None}

        monkeypatch.setattr(sequence, "environment", here)

    return change


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a `git` on the path that runs these lines of shell."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "git"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


def test_a_run_and_its_stages_record_versions_machine_threads_and_flags(learn: Learn) -> None:
    run = learn("a")
    told = run.environment
    assert told["torch"] == torch.__version__
    assert (told["threads"], told["processes"], told["deterministic"]) == (1, 1, "warn")
    assert {"python", "transformers", "peft", "numpy", "tokenizers", "platform", "device"} <= told.keys()
    assert [stage.environment for stage in run.stages] == [told]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"threads": 7},
            r"threads 1 \(now 7\), which can .* set OMP_NUM_THREADS=1\. .*--allow-environment-ch",
        ),
        (
            {"numpy": "1.0"},
            r"numpy \S+ \(now 1\.0\), which can change results\. As before: pip install numpy==",
        ),
        ({"machine": "m68k"}, r"machine \w+ \(now m68k\), which can change results\. With what is here"),
        ({"deterministic": "off"}, r"deterministic warn \(now off\)"),
        ({"scikit_learn": "1.0", "processes": 2}, r"scikit_learn \S+ \(now 1\.0\), processes 1 \(now 2\)"),
    ],
)
def test_a_run_does_not_go_on_with_what_can_change_results(
    learn: Learn,
    elsewhere: Callable[..., None],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    said: str,
) -> None:
    before = learn("a")
    elsewhere(**change)
    monkeypatch.setattr(learning, "teach", lambda *_: pytest.fail("trained"))
    with pytest.raises(RunConflict, match=rf"^run 'run': stage 1 was computed with {said}"):
        learn("a", "b")
    with workspace.read() as registry:
        assert registry.run("run") == before


def test_a_run_that_was_stopped_before_its_first_stage_is_compared_with_its_begin(
    learn: Learn, elsewhere: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr(learning, "teach", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            learn("a")
    elsewhere(threads=7)
    with pytest.raises(RunConflict, match=r"run 'run': it was begun with threads 1 \(now 7\)"):
        learn("a")


def test_a_change_is_allowed_once_and_then_the_newest_stage_is_what_counts(
    learn: Learn, elsewhere: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    learn("a")
    elsewhere(threads=7, torch="99.0")
    run = learn("a", "b", options=ALLOWED)
    shown = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert shown == [
        f"run 'run': torch was {torch.__version__} when stage 1 was computed, and is 99.0 now",
        "run 'run': threads was 1 when stage 1 was computed, and is 7 now",
    ]
    assert [run.environment_of(stage)["threads"] for stage in run.stages] == [1, 7]
    assert run.environment["threads"] == 1
    assert learn("a", "b", "c").status == "done"


def test_what_changes_no_result_is_told_in_one_line_each_and_not_refused(
    learn: Learn, elsewhere: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere(git_revision="c0ffee", platform="Linux-1", datasets="1.0")
    learn("a")
    elsewhere(git_revision="decade", platform="Linux-2", datasets="1.0")
    assert learn("a", "b").status == "done"
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "run 'run': platform was Linux-1 when stage 1 was computed, and is Linux-2 now",
        "run 'run': git_revision was c0ffee when stage 1 was computed, and is decade now",
    ]


def test_what_was_not_recorded_then_is_no_difference(learn: Learn, elsewhere: Callable[..., None]) -> None:
    elsewhere(tokenizers=None, deterministic=None, processes=None)
    learn("a")
    elsewhere()
    assert learn("a", "b").status == "done"


def test_a_finished_run_is_not_refused(learn: Learn, elsewhere: Callable[..., None]) -> None:
    run = learn("a")
    elsewhere(threads=7, torch="99.0")
    assert learn("a") == run


def test_the_git_revision_is_that_of_the_curriculums_folder(
    learn: Learn, git: Callable[[str], None], tmp_path: Path
) -> None:
    git(f'test "$1 $2" = "-C {tmp_path}/curricula" && echo c0ffee')
    run = learn("a", options=RunOptions(declared_in=tmp_path / "curricula"))
    assert run.environment["git_revision"] == "c0ffee"


def test_without_a_curriculums_folder_the_git_revision_is_that_of_the_workspace(
    learn: Learn, git: Callable[[str], None], workspace: Workspace
) -> None:
    git(f'test "$1 $2" = "-C {workspace.root}" && echo c0ffee')
    assert learn("a").environment["git_revision"] == "c0ffee"


@pytest.mark.parametrize("script", ["exit 128", "exec sleep 60"], ids=["no repository", "hangs"])
def test_without_a_git_that_answers_there_is_no_revision(
    git: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(environment, "GIT_TIMEOUT_S", 0.1)
    git(script)
    assert environment.git_revision(tmp_path) is None


def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_revision(tmp_path) is None


def test_a_stage_that_was_begun_with_something_else_is_trained_from_its_first_step(
    learn: Learn, elsewhere: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"epochs": 3, "batch_size": 8, "lr": 0.01, "max_length": 16, "save_steps": 1}  # 6 steps
    learn("a", train=train)
    elsewhere(threads=7)
    with pytest.raises(Interrupted):
        learn("a", "b", train=train, options=ALLOWED, observer=Ends(Interrupted, "2/2 b: training", 4))
    elsewhere()
    step, steps = lesson_trainer.Trainer.training_step, []
    monkeypatch.setattr(
        lesson_trainer.Trainer, "training_step", lambda *given: (steps.append(1), step(*given))[1]
    )
    run = learn("a", "b", train=train)
    assert [run.environment_of(stage)["threads"] for stage in run.stages] == [1, 1]
    assert len(steps) == run.stages[1].steps == 6
