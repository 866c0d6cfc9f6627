"""Runs whose tasks have scorer functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import InputError, ScoringFailed
from lori_cl.registry import Registry, Run, Workspace
from lori_cl.reports import gather
from lori_cl.runtime import SilentProgress
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.serving.verify import verify
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.task_data.eval_tasks import check_permissions
from lori_cl.training import RunOptions, run_curriculum

SOURCE = "def soft(answer, targets, row):\n    return 0.75 if answer == targets[0] else 0.25 * len(row) / 2\n"

Train = Callable[..., Run]


@pytest.fixture
def train(
    workspace: Workspace, write_task: Callable[..., Path], write_curriculum: Callable[..., Path]
) -> Train:
    """Return a function that runs one task with the scorer function `soft`."""

    def run(
        source: str = SOURCE, name: str = "run", trust: bool = True, tasks: tuple[str, ...] = ("colours",)
    ) -> Run:
        files = [write_task(task, metric="soft.py:soft") for task in tasks]
        (files[0].parent / "soft.py").write_text(source)
        register_tasks(workspace, files)
        spec = load_curriculum(write_curriculum(*tasks))
        return run_curriculum(workspace, spec, name, RunOptions(trust_tasks=trust), SilentProgress())

    return run


def _scores(registry: Registry, name: str) -> dict[tuple[int, str], Any]:
    return {(e.stage, e.view): e for e in registry.evaluations(name)}


def test_untrusted_function_is_refused_before_anything_is_stored(train: Train, workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"is scored by the Python function soft\.py:soft.*--trust-tasks"):
        train(trust=False)
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_error_of_the_function_is_found_before_training(train: Train, workspace: Workspace) -> None:
    with pytest.raises(ScoringFailed, match=r"task 'colours', row 1: soft\.py:soft"):
        train(source="def soft(answer, targets, row):\n    return 2\n")
    with workspace.read() as registry:
        assert registry.find_run("run") is None


def test_trusted_function_scores_a_run_that_verifies(train: Train, workspace: Workspace) -> None:
    train()
    with workspace.read() as registry:
        score = _scores(registry, "run")[1, "current"]
        assert set(score.outcomes) <= {0.25, 0.75}
        assert score.score == sum(score.outcomes) / score.n
        assert [check.check for check in verify(workspace, registry, "run", SilentProgress())]
        with pytest.raises(InputError, match="--trust-tasks"):
            remeasure(workspace, registry, "run", RemeasureOptions(), SilentProgress())
        again = remeasure(workspace, registry, "run", RemeasureOptions(trust_tasks=True), SilentProgress())
        assert "none was left out" in list(again)[-1].found


def test_changed_scorer_file_makes_a_new_version_with_new_scores(train: Train, workspace: Workspace) -> None:
    train()
    train(source=SOURCE.replace("0.75", "1.0"), name="second")
    with workspace.read() as registry:
        assert registry.task("colours").version == 2
        old, new = _scores(registry, "run")[1, "current"], _scores(registry, "second")[1, "current"]
    assert old.input_digest != new.input_digest


def test_change_of_a_graded_task_is_tested_with_the_bootstrap(train: Train, workspace: Workspace) -> None:
    train(tasks=("colours", "shapes"))
    with workspace.read() as registry:
        report = gather(registry, "run", workspace.artifacts)
    (change,) = next(view for view in report.views if view.name == "current").changes
    assert change.test is not None
    assert (change.task, change.test.name) == ("colours", "paired_bootstrap")


def test_trust_is_judged_by_the_declaration_that_scoring_uses(train: Train, workspace: Workspace) -> None:
    train()
    with workspace.read() as registry:
        task = registry.task("colours")
    with pytest.raises(InputError, match="--trust-tasks"):
        check_permissions([replace(task, metric="accuracy")], RunOptions())
