import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lori_cl.registry import Evaluation
from lori_cl.training.examiner import Examiner

Call = Callable[..., tuple[int, str, str]]
Write = Callable[..., Path]


@pytest.fixture
def curriculum(
    lori_cl: Call, write_task: Write, write_curriculum: Write, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Of a and b, where b costs a everything under `current`."""
    lori_cl("add-task", write_task("a"), write_task("b"))
    row = Examiner.row

    def costs(self: Examiner, *arguments: object) -> list[Evaluation]:
        return [
            replace(e, score=float(e.stage == 1), outcomes=(float(e.stage == 1),) * e.n)
            if e.view == "current"
            else e
            for e in row(self, *arguments)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(Examiner, "row", costs)
    return write_curriculum("a", "b")


def test_a_gate_ends_with_exit_code_1_and_the_lost_task_and_accept_takes_it(
    lori_cl: Call, curriculum: Path
) -> None:
    code, _, err = lori_cl("run", curriculum, "--name", "r", "--max-drop", "1.0")
    assert code == 1
    assert (
        err.strip()
        .splitlines()[-1]
        .startswith(
            "RegressionFound: stage 2/2 b: in the view current, 'a' fell by 100.0 points, from 100.0 % after "
            "stage 1 to 0.0 % (paired test, p = 0.0078); 1 points are allowed."
        )
    )
    assert lori_cl("run", curriculum, "--name", "r")[0] == 1
    code, out, _ = lori_cl("run", curriculum, "--name", "r", "--accept", "b")
    assert code == 0
    assert "−100.0" in out


def test_what_is_set_aside_shows_among_the_stages_until_it_is_taken(lori_cl: Call, curriculum: Path) -> None:
    lori_cl("run", curriculum, "--name", "r", "--max-drop", "1.0")
    _, out, _ = lori_cl("runs", "r")
    assert [line for line in out.splitlines() if line.startswith("2 b") and "set aside" in line]
    assert "\nset aside: stage 2/2 b: in the view current, 'a' fell by 100.0 points" in out
    assert "--name r --accept b\n" in out
    kept = json.loads(lori_cl("runs", "r", "--json")[1])["set_aside"]
    assert (kept["position"], kept["task"]) == (2, "b")
    lori_cl("run", curriculum, "--name", "r", "--accept", "b")
    assert "set aside" not in lori_cl("runs", "r")[1]
    assert json.loads(lori_cl("runs", "r", "--json")[1])["set_aside"] is None


def test_under_a_view_that_lost_nothing_the_gate_lets_it_pass(lori_cl: Call, curriculum: Path) -> None:
    options = ("--max-drop", "1", "--view", "as_trained")
    assert lori_cl("run", curriculum, "--name", "r", *options)[0] == 0


def test_a_view_without_a_gate_is_refused(lori_cl: Call, curriculum: Path) -> None:
    code, _, err = lori_cl("run", curriculum, "--view", "current")
    assert code == 2
    assert "add --max-drop" in err
