"""Rows with several right answers: the best match counts, and training uses the first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import ArtifactDamaged, DataError
from lori_cl.tasks import SCORERS, Example, eval_examples, from_jsonl, to_jsonl, train_examples

from .task_files import generation, write_rows

ROW = {
    "q": "which city",
    "a": "Paris",
    "golds": ["Paris", "paris, France"],
    "answers": {"text": ["Paris", "the city of Paris"], "answer_start": [1, 2]},
    "deep": {"aliases": ["Paris", "Lutetia"]},
    "numbers": [4, 4.5],
}


def example(tmp_path: Path, **fields: Any) -> Example:
    write_rows(tmp_path / "data" / "test.jsonl", [ROW])
    (found,) = eval_examples(generation(**{"answer": "", **fields}), tmp_path)
    return found


@pytest.mark.parametrize(
    ("answers", "golds"),
    [
        ("golds", ("Paris", "paris, France")),
        ("answers.text", ("Paris", "the city of Paris")),
        ("{{ deep.aliases }}", ("Paris", "Lutetia")),
        ("{{ golds | map('upper') }}", ("PARIS", "PARIS, FRANCE")),
        ("{{ golds + deep.aliases }}", ("Paris", "paris, France", "Lutetia")),
        (["{{ a }}", "{{ golds[1] }}"], ("Paris", "paris, France")),
        ("numbers", ("4", "4.5")),
    ],
)
def test_answers_are_a_column_an_expression_or_templates(
    tmp_path: Path, answers: Any, golds: tuple[str, ...]
) -> None:
    found = example(tmp_path, answers=answers)
    assert found.golds == golds
    assert found.target == golds[0]


def test_training_answer_may_be_declared_separately_and_counts_as_right(tmp_path: Path) -> None:
    found = example(tmp_path, answer=" {{ a }}", answers="golds")
    assert (found.target, found.golds) == (" Paris", (" Paris", "Paris", "paris, France"))


def test_training_uses_the_first_answer(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", [ROW])
    (found,) = train_examples(generation(answer="", answers="golds"), tmp_path)
    assert (found.target, found.answers) == ("Paris", ())


def test_single_right_answer_gives_the_same_eval_set_with_or_without_a_list(tmp_path: Path) -> None:
    assert example(tmp_path, answers=["{{ a }}"]) == example(tmp_path, answer="{{ a }}")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "answers is an empty list; each row needs at least one answer"),
        (["a", ""], "answers contains ''"),
        (["a", None], "answers contains None"),
        (["a", ["b"]], r"answers contains \['b'\]"),
        (["a", True], "answers contains true"),
        ("a", "column 'golds' contains 'a', not a list of answers"),
        (None, "column 'golds' contains None, not a list of answers"),
    ],
)
def test_row_without_right_answers_is_refused(tmp_path: Path, answers: Any, reason: str) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [ROW, {**ROW, "golds": answers}])
    with pytest.raises(DataError, match=rf"test\.jsonl, line 2: {reason}"):
        eval_examples(generation(answer="", answers="golds"), tmp_path)


@pytest.mark.parametrize("answers", ["{{ a }}", "x {{ golds }}", "{{ golds }}{{ golds }}", "{{ deep }}"])
def test_template_that_does_not_give_a_list_is_refused(tmp_path: Path, answers: str) -> None:
    with pytest.raises(DataError, match=r"line 1: answers fails on this row: "):
        example(tmp_path, answers=answers)


def test_task_without_any_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="'answer' is missing"):
        generation(answer="")


@pytest.mark.parametrize(
    "metric", ["exact_match", "numeric_match", "f1", "rouge_l", "sentence_bleu", "edit_similarity"]
)
def test_best_match_counts_at_any_position(metric: str) -> None:
    golds = ("12", "13", "14")
    examples = [Example(i, "q", golds[0], answers=golds) for i in range(4)]
    grade = SCORERS[metric].grade(None, [["12"], ["13"], ["14"], ["99"]], examples)
    assert grade.outcomes[:3].tolist() == pytest.approx([1, 1, 1])
    assert grade.outcomes[3] < 1


def test_eval_set_with_several_answers_round_trips() -> None:
    examples = [Example(0, "q", "a", answers=("a", "b")), Example(1, "q", "a")]
    written = to_jsonl(examples)
    assert from_jsonl(written) == examples
    assert b'"answers": ["a", "b"]' in written.split(b"\n")[0]
    assert b"answers" not in written.split(b"\n")[1]


GRADED = ["{{ a }}", {"text": "{{ golds[1] }}", "grade": 0.5}]


@pytest.mark.parametrize(
    "answers", [GRADED, "graded", "{{ graded }}"], ids=["templates", "column", "expression"]
)
def test_match_of_a_graded_answer_gets_its_grade(tmp_path: Path, answers: Any) -> None:
    graded = [{"text": "Paris", "grade": 1}, {"text": "paris, France", "grade": 0.5}]
    write_rows(tmp_path / "data" / "test.jsonl", [{**ROW, "graded": graded}])
    (found,) = eval_examples(generation(answer="", answers=answers), tmp_path)
    outcomes = [
        SCORERS["exact_match"].grade(None, [[answer]], [found]).score
        for answer in ("Paris", "paris, france", "Rome")
    ]
    assert outcomes == [1.0, 0.5, 0.0]


def test_graded_answers_survive_the_eval_set_file(tmp_path: Path) -> None:
    found = example(tmp_path, answers=GRADED)
    assert found.grades == (1.0, 0.5)
    assert from_jsonl(to_jsonl([found])) == [found]


def test_answers_without_grades_leave_the_eval_set_unchanged(tmp_path: Path) -> None:
    assert b"grades" not in to_jsonl([example(tmp_path, answers="golds")])


def test_training_target_needs_full_marks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: the first answer is the training target, .* grade is 0\.5"):
        example(tmp_path, answers=[{"text": "{{ a }}", "grade": 0.5}, "{{ q }}"])


@pytest.mark.parametrize("grade", [0, 1.5, -1, True, "half", float("nan")])
def test_invalid_grade_is_refused(tmp_path: Path, grade: Any) -> None:
    with pytest.raises(ValueError, match="grade above 0 and at most 1"):
        generation(answers=["{{ a }}", {"text": "{{ q }}", "grade": grade}])


def test_invalid_grade_in_a_row_is_refused(tmp_path: Path) -> None:
    rows = [{**ROW, "golds": ["a", {"text": "b", "grade": 2}]}]
    write_rows(tmp_path / "data" / "test.jsonl", rows)
    with pytest.raises(DataError, match="answers contains the grade 2; a grade is a number above 0"):
        eval_examples(generation(answer="", answers="golds"), tmp_path)


@pytest.mark.parametrize("grades", [[2.0, 1.0], [1.0], ["1", 1.0], [0, 1.0]])
def test_eval_set_file_with_invalid_grades_is_damaged(tmp_path: Path, grades: list[Any]) -> None:
    record = {"id": 0, "text": "q", "target": "a", "answers": ["a", "b"], "grades": grades}
    with pytest.raises(ArtifactDamaged, match="a grade is not valid"):
        from_jsonl(json.dumps(record).encode())
