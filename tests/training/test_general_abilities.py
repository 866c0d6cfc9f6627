"""Tasks that are scored after every stage and never trained: `eval.also`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lori_cl.errors import InputError, RunConflict
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.registry import Run, Workspace
from lori_cl.reports import gather, to_record
from lori_cl.reports.formats import FORMATS
from lori_cl.runtime import SilentProgress
from lori_cl.serving.remeasure import RemeasureOptions, remeasure
from lori_cl.serving.verify import verify
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, plan_curriculum, run_curriculum
from tests.tiny import declare_task

Train = Callable[..., Run]
ALSO = {"also": ["general"], "batch_size": 4}


@pytest.fixture
def add_general(workspace: Workspace, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that registers the task `general`, which has no training data."""

    def add(**fields: Any) -> Path:
        file = declare_task(tmp_path / "declared", "general", eval_only=True, **fields)
        (file.parent / "general" / "train.jsonl").unlink()
        register_tasks(workspace, [file])
        return file

    return add


@pytest.fixture
def trained(
    train_once: Callable[[Callable[[], object]], None], train_run: Train, add_general: Callable[..., Path]
) -> None:
    """Train two tasks, and score `general` with them."""

    def train() -> None:
        add_general()
        train_run("colours", "shapes", eval=ALSO)

    train_once(train)


@pytest.mark.usefixtures("trained")
def test_task_is_scored_with_the_base_model_and_after_every_stage(
    scores: Callable[..., dict[tuple[int, str, str], Any]],
) -> None:
    own = {(stage, view) for stage, task, view in scores() if task == "general"}
    assert own == {(0, "base"), (1, "current"), (2, "current")}


@pytest.mark.usefixtures("trained")
def test_task_enters_neither_the_matrix_nor_its_metrics(workspace: Workspace) -> None:
    with workspace.read() as registry:
        report = gather(registry, "run", workspace.artifacts)
    assert all(view.matrix.tasks == ("colours", "shapes") for view in report.views)
    (ability,) = report.general
    assert (ability.task, ability.n, len(ability.cells)) == ("general", 8, 3)
    assert ability.change is not None
    assert ability.change.score == pytest.approx(ability.change_at(2))
    assert ability.change.test is not None
    record = to_record(report)
    assert record["general_abilities"][0]["scores"] == [cell.score for cell in ability.cells if cell]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("name", ["html", "md", "json"])
def test_reports_show_general_abilities(workspace: Workspace, name: str) -> None:
    with workspace.read() as registry:
        report = gather(registry, "run", workspace.artifacts)
    text = FORMATS[name]([report]).decode()
    assert "general" in text
    assert ("general_abilities" if name == "json" else "General abilities") in text


@pytest.mark.usefixtures("trained")
def test_run_with_general_abilities_verifies_and_measures_again(workspace: Workspace) -> None:
    with workspace.read() as registry:
        assert list(verify(workspace, registry, "run", SilentProgress()))
        again = list(remeasure(workspace, registry, "run", RemeasureOptions(), SilentProgress()))
    assert "none was left out" in again[-1].found
    assert sum("general under" in result.found for result in again) == 3


@pytest.mark.usefixtures("trained")
def test_run_resumes_with_the_version_that_it_used(
    workspace: Workspace, train_run: Train, add_general: Callable[..., Path]
) -> None:
    add_general(seed=7)
    run = train_run("colours", "shapes", "sizes", eval=ALSO)
    assert [task.version for task in run.also] == [1]
    with pytest.raises(RunConflict, match=r"eval\.also"):
        train_run("colours", "shapes", "sizes", "weights", eval={"batch_size": 4})


@pytest.mark.usefixtures("trained")
def test_general_abilities_do_not_change_what_is_trained(train_run: Train, workspace: Workspace) -> None:
    other = train_run("colours", name="without")
    with workspace.read() as registry:
        stages = (registry.run("run").stages[0], other.stages[0])
    one, two = (read_stage(workspace.artifacts.get(each.artifact, "safetensors"))[0] for each in stages)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert "also" not in other.curriculum["eval"]


def test_plan_counts_the_scores_of_general_abilities(
    workspace: Workspace,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
    add_general: Callable[..., Path],
) -> None:
    add_general()
    register_tasks(workspace, [write_task("colours")])
    plans = []
    for scoring in (ALSO, {"batch_size": 4}):
        spec = load_curriculum(write_curriculum("colours", eval=scoring))
        plans.append(plan_curriculum(workspace, spec, "run", RunOptions()))
    assert plans[0].base_scores == plans[1].base_scores + 1
    assert plans[0].stages[0].scores == plans[1].stages[0].scores + 1


@pytest.mark.parametrize(
    ("tasks", "also", "problem"),
    [
        (["general"], None, "task 'general' is eval_only: it cannot be trained; name it in eval.also"),
        (["colours"], ["colours"], "eval.also names 'colours', which the curriculum names already"),
        (["colours"], ["missing"], "missing"),
    ],
)
def test_unusable_names_are_refused(
    workspace: Workspace,
    write_task: Callable[..., Path],
    write_curriculum: Callable[..., Path],
    add_general: Callable[..., Path],
    tasks: list[str],
    also: list[str] | None,
    problem: str,
) -> None:
    add_general()
    register_tasks(workspace, [write_task("colours")])
    scoring = {"also": also} if also else {}
    spec = load_curriculum(write_curriculum(*tasks, eval=scoring))
    with pytest.raises(InputError, match=problem):
        run_curriculum(workspace, spec, "run", RunOptions(), SilentProgress())


def test_eval_only_task_declares_no_training_data(
    write_task: Callable[..., Path], workspace: Workspace
) -> None:
    file = write_task("general", eval_only=True, train={"split": "other"})
    with pytest.raises(InputError, match="eval_only: true reads no training data"):
        register_tasks(workspace, [file])


def test_general_abilities_are_scored_on_the_whole_eval_set_with_eval_sample(
    workspace: Workspace, train_run: Train, add_general: Callable[..., Path]
) -> None:
    add_general()
    train_run("colours", "shapes", "sizes", eval={**ALSO, "sample": 4})
    with workspace.read() as registry:
        sizes = {e.n for e in registry.evaluations("run") if e.task == "general"}
        assert list(verify(workspace, registry, "run", SilentProgress()))
    assert sizes == {8}
