import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lori_cl.evaluation.evaluator import Evaluator
from lori_cl.registry import Evaluation

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def curriculum(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a curriculum of a and b; training b sets the score of a under `current` to 0."""
    lori_cl("add-task", write_task("a"), write_task("b"))
    row = Evaluator.row

    def row_with_regression(self: Evaluator, *arguments: object) -> list[Evaluation]:
        return [
            replace(e, score=float(e.stage == 1), outcomes=(float(e.stage == 1),) * e.n)
            if e.view == "current"
            else e
            for e in row(self, *arguments)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(Evaluator, "row", row_with_regression)
    return write_curriculum("a", "b")


def test_regression_gate_fails_with_the_task_and_accept_commits_the_stage(
    lori_cl: Call, curriculum: Path
) -> None:
    code, _, err = lori_cl("run", curriculum, "--name", "r", "--max-drop", "1.0")
    assert code == 1
    assert (
        err.strip()
        .splitlines()[-1]
        .startswith(
            "RegressionFound: stage 2/2 b: in the view current, 'a' fell by 100.0 points, from 100.0 % after "
            "stage 1 to 0.0 % (paired test, p = 0.0078); the limit is 1 points."
        )
    )
    assert lori_cl("run", curriculum, "--name", "r")[0] == 1
    code, out, _ = lori_cl("run", curriculum, "--name", "r", "--accept", "b")
    assert code == 0
    assert "−100.0" in out


def test_held_back_stage_is_listed_until_it_is_accepted(lori_cl: Call, curriculum: Path) -> None:
    lori_cl("run", curriculum, "--name", "r", "--max-drop", "1.0")
    _, out, _ = lori_cl("runs", "r")
    assert [line for line in out.splitlines() if line.startswith("2 b") and "held back" in line]
    assert "\nheld back: stage 2/2 b: in the view current, 'a' fell by 100.0 points" in out
    assert "--name r --accept b\n" in out
    held_back = json.loads(lori_cl("runs", "r", "--json")[1])["held_back"]
    assert (held_back["position"], held_back["task"]) == (2, "b")
    assert held_back["reason"].startswith("stage 2/2 b: in the view current, 'a' fell by 100.0 points")
    lori_cl("run", curriculum, "--name", "r", "--accept", "b")
    assert "held back" not in lori_cl("runs", "r")[1]
    assert json.loads(lori_cl("runs", "r", "--json")[1])["held_back"] is None


def test_gate_passes_under_a_view_without_a_regression(lori_cl: Call, curriculum: Path) -> None:
    options = ("--max-drop", "1", "--view", "as_trained")
    assert lori_cl("run", curriculum, "--name", "r", *options)[0] == 0


def test_view_option_requires_max_drop(lori_cl: Call, curriculum: Path) -> None:
    code, _, err = lori_cl("run", curriculum, "--view", "current")
    assert code == 2
    assert "add --max-drop" in err
