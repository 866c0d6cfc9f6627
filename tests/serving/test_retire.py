from collections.abc import Callable
from dataclasses import replace

import pytest

from lori_cl.errors import CapacityExhausted, InputError
from lori_cl.registry import Run, Workspace
from lori_cl.serving.retire import retire_task
from lori_cl.training import RunOptions

TrainRun = Callable[..., Run]
Scores = Callable[..., dict]

FULL = {"masks": {"strategy": "random", "density": 0.45}}


def retire(workspace: Workspace, task: str, *, force: bool = False) -> int:
    return retire_task(workspace, "run", task, force=force).cells


def test_retired_cells_are_free_for_the_next_task(train_run: TrainRun, workspace: Workspace) -> None:
    run = train_run("a", "b", **FULL)
    k = round(0.45 * 448)
    assert run.free_cells == 448 - 2 * k < k
    assert retire(workspace, "b") == k
    after = train_run("a", "b", "c", **FULL)
    assert [stage.task for stage in after.stages] == ["a", "b", "c"]
    assert [stage.retired_after for stage in after.stages] == [None, 2, None]
    assert after.free_cells == 448 - 2 * k


def test_earlier_and_retired_tasks_keep_their_as_trained_scores(
    train_run: TrainRun,
    workspace: Workspace,
    scores: Scores,
) -> None:
    every = RunOptions(measure_all=True)
    train_run("a", "b", options=every, **FULL)
    retire(workspace, "a", force=True)
    train_run("a", "b", "c", options=every, **FULL)
    found = scores()
    for task, trained in (("a", 1), ("b", 2)):
        assert found[3, task, "as_trained"].outcomes == found[trained, task, "as_trained"].outcomes
        assert found[3, task, "as_trained"].input_digest == found[trained, task, "as_trained"].input_digest


def test_retired_cells_are_inactive_in_the_current_view(
    train_run: TrainRun,
    workspace: Workspace,
    scores: Scores,
) -> None:
    isolated = {"adapter": {"rank": 4, "alpha": 8, "composition": "isolated"}}
    train_run("a", "b", **isolated)
    retire(workspace, "a")
    retire(workspace, "b")
    train_run("a", "b", "c", **isolated)
    found = scores()
    assert found[3, "c", "current"].input_digest == found[3, "c", "as_trained"].input_digest


def test_task_with_dependent_tasks_is_retired_only_with_force(
    train_run: TrainRun,
    workspace: Workspace,
) -> None:
    before = train_run("a", "b", "c", **{"masks": {"strategy": "random", "density": 0.1}})
    with pytest.raises(InputError, match=r"'a' cannot be retired: b, c were trained on top .* --force"):
        retire(workspace, "a")
    with workspace.read() as registry:
        assert registry.run("run") == before
    assert retire(workspace, "a", force=True) == 45
    with workspace.read() as registry:
        stages = registry.run("run").stages
    assert stages[0] == replace(before.stages[0], retired_after=3)


def test_task_whose_cells_later_tasks_trained_cannot_be_retired(
    train_run: TrainRun, workspace: Workspace
) -> None:
    shared_cells = {"masks": {"strategy": "random", "density": 0.5, "overlap": "allow", "freeze": False}}
    before = train_run("a", "b", **shared_cells)
    with pytest.raises(InputError, match=r"'a' cannot be retired: b trained its cells further"):
        retire(workspace, "a", force=True)
    with workspace.read() as registry:
        assert registry.run("run") == before
    assert retire(workspace, "b") == 224


def test_grown_adapter_keeps_its_rank_after_a_retirement(train_run: TrainRun, workspace: Workspace) -> None:
    growing_adapter = {
        "adapter": {"rank": 4, "alpha": 8, "grow": 2},
        "masks": {"strategy": "random", "density": 0.45},
    }
    run = train_run("a", "b", "c", **growing_adapter)
    assert (run.rank, run.free_cells) == (6, 672 - 3 * 202)
    retire(workspace, "c")
    with workspace.read() as registry:
        assert registry.run("run").free_cells == 672 - 2 * 202
    after = train_run("a", "b", "c", "d", "e", **growing_adapter)
    assert [stage.mask.rank for stage in after.stages if stage.mask] == [4, 4, 6, 6, 8]


def test_invalid_retirement_is_a_one_line_error(train_run: TrainRun, workspace: Workspace) -> None:
    train_run("a", "b", **FULL)
    with pytest.raises(InputError, match=r"has not trained task 'bb'. Did you mean 'b'"):
        retire(workspace, "bb")
    retire(workspace, "b")
    with pytest.raises(InputError, match=r"has already retired task 'b'"):
        retire(workspace, "b")


def test_advice_for_an_exhausted_even_budget_works(train_run: TrainRun, workspace: Workspace) -> None:
    even = {"masks": {"strategy": "random", "budget": "even"}}
    train_run("a", "b", **even)
    with pytest.raises(CapacityExhausted, match=r"with all 3 tasks.*lori-cl retire-task RUN TASK"):
        train_run("a", "b", "c", **even)
    assert len(train_run("a", "b", "c", name="new", **even).stages) == 3
    retire_task(workspace, "run", "b")
    assert len(train_run("a", "b", "c", **even).stages) == 3
