from __future__ import annotations

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import KINDS, SCORERS, Example
from lori_cl.tasks.examples import COMPLETION
from lori_cl.tasks.rows import Row, Rows
from lori_cl.tasks.scorers.pass_at_k import pass_at_k

from .task_files import code

KIND = KINDS["code"]
ROW = {"q": "def double(x):\n", "a": "    return 2 * x\n", "test": "assert double(3) == 6"}


def examples(row: Row = ROW, **changes: object) -> list[Example]:
    return KIND.examples(code(**changes), Rows([row], list(row), "data/test.jsonl", [1]))


def test_program_has_a_placeholder_for_the_completion() -> None:
    (example,) = examples()
    assert example.check == f"def double(x):\n{COMPLETION}\nassert double(3) == 6"
    assert (example.text, example.target) == (ROW["q"], ROW["a"])


def test_program_whose_tests_do_not_compile_is_refused_with_its_line() -> None:
    words = (
        r"^data/test.jsonl, line 1: "
        r"the program with the reference answer does not compile: invalid syntax"
    )
    with pytest.raises(DataError, match=words):
        examples({**ROW, "test": "assert double(3) = = 6"})


def test_program_without_a_completion_placeholder_is_refused() -> None:
    with pytest.raises(DataError, match="the program contains 0 placeholders for the completion"):
        examples(program="{{ q }}{{ a }}")


def test_training_rows_may_have_other_columns_and_need_no_tests() -> None:
    task = code(train={"prompt": "{{ instruction }}", "answer": "{{ output }}"})
    row = {"instruction": "Double x.", "output": "2 * x"}
    assert KIND.training_examples(task, Rows([row], list(row), "data/train.jsonl")) == [
        Example(0, "Double x.", "2 * x")
    ]


def test_completion_keeps_its_indentation() -> None:
    assert KIND.clean_answer("    return 1\n\n") == "    return 1"


def test_answers_are_graded_by_running_the_programs() -> None:
    (example,) = examples()
    answers = [["    return 2 * x"], ["    return x"], ["    syntax error"], ["    while True: pass"]]
    found = SCORERS["pass_at_k"].grade(code(timeout_s=1), answers, [example] * 4)
    assert found.outcomes.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found.parts == {"pass@1": 0.25, "timed_out": 0.25}


def test_pass_at_every_k_uses_the_same_samples() -> None:
    (example,) = examples()
    samples = [["    return 2 * x", "    return x", "    return x + x", "    return 1"]]
    found = SCORERS["pass_at_k"].grade(code(samples=4, temperature=1, pass_at=[2, 1, 4]), samples, [example])
    assert found.parts == pytest.approx({"pass@2": 5 / 6, "pass@1": 0.5, "pass@4": 1.0})
    assert found.score == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("n", "c", "k", "chance"),
    [(1, 0, 1, 0), (1, 1, 1, 1), (5, 2, 1, 2 / 5), (5, 2, 2, 1 - 3 / 10), (20, 1, 10, 0.5), (20, 11, 10, 1)],
)
def test_pass_at_k_matches_the_published_formula(n: int, c: int, k: int, chance: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(chance)
