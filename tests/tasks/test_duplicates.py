"""Eval examples in the training data are found regardless of case, spacing and punctuation."""

from __future__ import annotations

from pathlib import Path

import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import Example, read_task
from lori_cl.tasks.duplicates import duplicates, near_duplicates

from .task_files import classification, write_rows


def examples(*texts: str) -> list[Example]:
    return [Example(i, text, "x") for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is red.", "it is RED"),
        ("It  is\tred", "It is red"),
        ("Ｉt is red", "It is red"),
        ("«It is red!»", "It is red"),
        ("It’s red, is it?", "it s red is it"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_texts_that_differ_in_formatting_alone_are_duplicates(one: str, other: str) -> None:
    (found,) = duplicates(examples("a", one), examples(other))
    assert (found.train.id, found.held_out.id) == (1, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 * 4", "3 + 4"),
        ("1.5", "15"),
        ("a < b", "a > b"),
        ("-5", "5"),
        ("!", "?"),
        ("x/y", "x*y"),
        ("ab", "a b"),
    ],
)
def test_texts_with_different_meaning_are_not_duplicates(one: str, other: str) -> None:
    assert duplicates(examples(one), examples(other)) == []


def test_choices_are_part_of_the_comparison() -> None:
    one = Example(0, "Which?", "a", ("a", "b"))
    assert duplicates([one], [Example(0, "which", "c", ("c", "d"))]) == []
    assert len(duplicates([one], [Example(0, "which", "a", ("A", "b."))])) == 1


def test_normalised_duplicate_is_refused_with_both_rows_unless_allowed(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "data" / "train.jsonl", [{"text": t, "label": "positive"} for t in ("a", "It is so.")]
    )
    write_rows(
        tmp_path / "data" / "test.jsonl", [{"text": t, "label": "positive"} for t in ("b", "c", "it is SO")]
    )
    with pytest.raises(DataError, match=r"row 3 of split 'test', equal to row 2 of split 'train' except for"):
        read_task(classification(), tmp_path)
    assert len(read_task(classification(allow_duplicates=True), tmp_path).held_out) == 3


def test_near_duplicates_are_counted_and_the_first_is_named() -> None:
    long = "the quick brown fox jumps over the lazy dog and runs away from it"
    near = near_duplicates(examples("other words stand here", f"{long} at night"), examples("no", long))
    assert near.first is not None
    assert (near.n, near.first.held_out.id, near.first.train.id) == (1, 1, 1)


def test_shared_prompt_template_does_not_cause_near_duplicates() -> None:
    template = "below is an instruction that describes a task write a response that completes it"
    train = examples(*(f"{template} word{i} of{i} train{i} more{i} text{i}" for i in range(50)))
    held_out = examples(*(f"{template} text{i} of{i} test{i} here{i} now{i}" for i in range(50)))
    assert near_duplicates(train, held_out).n == 0


def test_identical_example_is_not_a_near_duplicate() -> None:
    same = "one two three four five six seven"
    assert near_duplicates(examples(same), examples(same.upper())).n == 0
