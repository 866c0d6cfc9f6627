"""A scorer function in a Python file next to the task file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lori_cl.errors import DataError, ScoringFailed, SpecError
from lori_cl.spec import load_task
from lori_cl.tasks import Example, from_jsonl, read_task, to_jsonl
from lori_cl.tasks.scorers import SCORERS

SOURCE = """
def brevity(answer, targets, row):
    return min(1.0, row["words"] / max(1, len(answer.split())))
"""

Declare = Callable[..., Path]


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """Return a function that writes a generation task, its data and its scorer file."""

    def write(source: str = SOURCE, **fields: Any) -> Path:
        for split, n in (("train", 4), ("test", 3)):
            rows = [{"q": f"{split} {i}", "a": f"it is {i}", "words": 3} for i in range(n)]
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "scorers.py").write_text(source)
        task = {
            "name": "short",
            "kind": "generation",
            "source": {"local": "."},
            "prompt": "{{ q }}",
            "answer": "{{ a }}",
            "metric": "scorers.py:brevity",
            **fields,
        }
        file = tmp_path / "short.yaml"
        file.write_text(yaml.safe_dump(task))
        return file

    return write


def grade(file: Path, answers: list[list[str]]) -> list[float]:
    data = read_task(load_task(file), file.parent)
    spec: Any = data.task
    outcomes: list[float] = SCORERS[spec.metric].grade(spec, answers, data.held_out).outcomes.tolist()
    return outcomes


def test_function_gets_the_answer_the_targets_and_the_row(declare: Declare) -> None:
    source = "def brevity(answer, targets, row):\n    return answer == targets[0] and row['q'] == 'test 0'\n"
    assert grade(declare(source), [["it is 0"], ["it is 1"], ["no"]]) == [1.0, 0.0, 0.0]


def test_fractions_are_kept_per_example(declare: Declare) -> None:
    assert grade(declare(), [["a b c"], ["a b c d e f"], ["a"]]) == [1.0, 0.5, 1.0]


def test_changed_file_does_not_change_the_frozen_scorer(declare: Declare) -> None:
    file = declare()
    data = read_task(load_task(file), file.parent)
    (file.parent / "scorers.py").write_text("def brevity(answer, targets, row):\n    return 0\n")
    spec: Any = data.task
    answers = [["a b c"]] * 3
    assert SCORERS[spec.metric].grade(spec, answers, data.held_out).score == 1.0
    assert read_task(load_task(file), file.parent).task != spec


def test_adding_a_task_runs_no_code(declare: Declare) -> None:
    file = declare("open('made-by-scorer', 'w')\n" + SOURCE)
    read_task(load_task(file), file.parent)
    assert not Path("made-by-scorer").exists()
    assert not (file.parent / "made-by-scorer").exists()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return row['missing']", "fails on the answer 'x': KeyError: 'missing' (line 2)"),
        ("return float('nan')", "returned nan for the answer 'x'; it must return a bool or a number"),
        ("return 1.5", "returned 1.5"),
        ("return None", "returned None"),
        ("return 'yes'", "returned 'yes'"),
        ("raise SystemExit", "SystemExit (line 2)"),
    ],
)
def test_bad_grade_is_one_line_that_names_task_and_row(declare: Declare, body: str, problem: str) -> None:
    file = declare(f"def brevity(answer, targets, row):\n    {body}\n")
    with pytest.raises(ScoringFailed) as failed:
        grade(file, [["x"]] * 3)
    assert str(failed.value).startswith("task 'short', row 1: scorers.py:brevity ")
    assert problem in str(failed.value)


def test_numpy_grades_are_accepted(declare: Declare) -> None:
    source = "import numpy as np\ndef brevity(answer, targets, row):\n    return np.float32(0.25)\n"
    assert grade(declare(source), [["x"]] * 3) == [0.25] * 3


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def other(answer, targets, row):\n    return 1\n", "no function 'brevity'. Available: other."),
        ("def brevity(:\n", "scorers.py, line 1: not valid Python"),
        ("import helper\n" + SOURCE, "imports 'helper', which is next to it"),
        ("from . import helper\n" + SOURCE, "imports '.', which is next to it"),
        ("#" * 70_000, "at most 65,536 bytes"),
    ],
)
def test_unusable_scorer_file_is_refused(declare: Declare, source: str, problem: str) -> None:
    file = declare(source)
    (file.parent / "helper.py").write_text("")
    with pytest.raises(DataError) as refused:
        read_task(load_task(file), file.parent)
    assert problem in str(refused.value)


def test_scorer_file_outside_the_task_folder_is_refused(declare: Declare, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.py"
    outside.write_text(SOURCE)
    file = declare(metric=f"../{outside.name}:brevity")
    with pytest.raises(DataError, match="leads out of"):
        read_task(load_task(file), file.parent)


def test_missing_scorer_file_is_refused(declare: Declare) -> None:
    file = declare(metric="missing.py:brevity")
    with pytest.raises(DataError, match=r"missing\.py: no scorer file"):
        read_task(load_task(file), file.parent)


def test_metric_without_a_function_says_how_to_write_it(declare: Declare) -> None:
    with pytest.raises(SpecError, match=r"write FILE\.py:FUNCTION"):
        load_task(declare(metric="scorers.py"))


def test_task_file_cannot_set_the_frozen_source(declare: Declare) -> None:
    with pytest.raises(SpecError, match="'scorer_source' is written by add-task"):
        load_task(declare(scorer_source="x"))


def test_values_that_json_cannot_hold_are_left_out(declare: Declare) -> None:
    file = declare()
    examples = read_task(load_task(file), file.parent).held_out
    assert examples[0].row_values() == {"q": "test 0", "a": "it is 0", "words": 3}
    assert from_jsonl(to_jsonl(examples)) == examples


def test_examples_of_other_metrics_have_no_row(declare: Declare) -> None:
    file = declare(metric="exact_match")
    assert read_task(load_task(file), file.parent).held_out[0] == Example(0, "test 0", "it is 0")
