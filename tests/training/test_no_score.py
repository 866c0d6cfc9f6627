"""An evaluation without a score ends the stage; it is never recorded as 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lori_cl.errors import DataError, LoriError
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.task_data import register_tasks
from lori_cl.tasks import SCORERS
from lori_cl.training import RunOptions, run_curriculum

TrainRun = Callable[..., Run]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"score": np.nan}, "accuracy gave no score over 8 examples"),
        ({"score": np.inf}, "accuracy gave no score over 8 examples"),
        ({"stderr": np.nan}, "accuracy gave no standard error over 8 examples"),
        ({"parts": {"pass@1": np.nan}}, r"accuracy gave no pass@1 over 8 examples"),
        ({"outcomes": np.array([np.nan] * 8)}, "accuracy gave no outcome of every example over 8 examples"),
        ({"outcomes": np.ones(7)}, "accuracy gave no outcome of every example over 8 examples"),
    ],
    ids=["nan", "infinite", "error", "part", "outcome", "too few"],
)
def test_metric_without_a_finite_score_ends_the_run_before_any_commit(
    train_run: TrainRun,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    message: str,
) -> None:
    original = type(SCORERS["accuracy"]).grade

    def invalid_grade(*arguments: Any) -> Any:
        return replace(original(*arguments), **changed)

    monkeypatch.setattr(type(SCORERS["accuracy"]), "grade", invalid_grade)
    with pytest.raises(LoriError, match=f"scoring a, base: {message}"):
        train_run("a")
    with workspace.read() as registry:
        assert registry.evaluations("run") == []
        assert registry.run("run").stages == ()


def test_empty_eval_set_is_refused_before_a_run_starts(
    workspace: Workspace, write_task: Callable[..., Any], write_curriculum: Callable[..., Any]
) -> None:
    (registered,) = register_tasks(workspace, [write_task("a")])
    empty = workspace.artifacts.put(b"", "jsonl")
    with workspace.open() as registry:
        registry.add_task(registered.task.spec, (empty, 0, 0), registered.task.declared_in)
    with pytest.raises(DataError, match="accuracy cannot score split 'test': there are no examples"):
        run_curriculum(
            workspace, load_curriculum(write_curriculum("a")), "run", RunOptions(), SilentProgress()
        )
    with workspace.read() as registry:
        assert registry.find_run("run") is None
