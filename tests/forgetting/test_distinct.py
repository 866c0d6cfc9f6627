"""Repeated inputs count once in standard errors and tests, and eval sets warn about them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lori_cl.forgetting import paired_test, standard_error
from lori_cl.forgetting.distinct import group_means, grouped_standard_error, groups_of
from lori_cl.forgetting.eval_set import EvalRow, eval_set_facts


def test_distinct_rows_have_no_groups() -> None:
    assert groups_of(["a", "b", "c"]) is None


def test_groups_of_one_row_each_give_the_plain_standard_error() -> None:
    outcomes = np.array([1.0, 0.0, 1.0, 1.0])
    assert grouped_standard_error(outcomes, np.arange(4)) == pytest.approx(standard_error(outcomes))


def test_repeating_every_row_changes_no_standard_error() -> None:
    outcomes = np.array([1.0, 0.0, 1.0, 1.0])
    groups = groups_of(list("abcd") * 25)
    assert groups is not None
    assert grouped_standard_error(np.tile(outcomes, 25), groups) == pytest.approx(standard_error(outcomes))


def test_repetitions_of_one_input_have_no_standard_error() -> None:
    groups = groups_of(["a"] * 50)
    assert groups is not None
    assert grouped_standard_error(np.ones(50), groups) is None


def test_group_mean_of_equal_outcomes_is_exact() -> None:
    groups = groups_of(list("aab"))
    assert groups is not None
    assert group_means(np.array([0.1, 0.1, 1.0]), groups).tolist() == [0.1, 1.0]


def test_paired_test_counts_a_repeated_input_once() -> None:
    groups = groups_of(["a"] * 20 + ["b", "c"])
    before, after = np.ones(22), np.array([0.0] * 20 + [1.0, 1.0])
    test = paired_test(before, after, groups=groups)
    assert (test.name, test.n, test.worsened, test.p_value) == ("mcnemar_exact", 3, 1, 1.0)
    assert test.difference == pytest.approx(-20 / 22)
    assert paired_test(before, after).p_value < 0.001


def rows(*pairs: tuple[str, str], kind: str = "classification", **fields: Any) -> list[EvalRow]:
    return [
        EvalRow.of(kind, {"id": i, "text": text, "target": target, **fields})
        for i, (text, target) in enumerate(pairs)
    ]


def test_eval_set_with_enough_distinct_rows_has_no_warnings() -> None:
    facts = eval_set_facts(rows(*((f"text {i}", "ab"[i % 2]) for i in range(30))))
    assert (facts.n, facts.distinct, facts.groups, facts.warnings) == (30, 30, None, ())


def test_warning_about_few_examples_names_the_expected_standard_error() -> None:
    (warning,) = eval_set_facts(rows(*((f"text {i}", "ab"[i % 2]) for i in range(8)))).warnings
    assert (
        f"only 8 distinct eval examples: a score of 50 % has a standard error of {50 / math.sqrt(7):.1f}"
        in warning
    )


def test_warning_about_a_single_example_says_there_is_no_standard_error() -> None:
    (warning,) = eval_set_facts(rows(("a", "x"))).warnings
    assert warning.startswith("only one distinct eval example")


def test_warning_about_repeated_rows_counts_and_names_them() -> None:
    facts = eval_set_facts(rows(*(("same", "a") for _ in range(49)), ("other", "b")))
    assert facts.distinct == 2
    assert any(
        "48 of 50 eval examples repeat" in w and "row 2, which repeats row 1" in w for w in facts.warnings
    )


def test_warning_about_a_single_label_names_the_score_of_a_constant_answer() -> None:
    facts = eval_set_facts(rows(*((f"text {i}", "a") for i in range(40))))
    assert facts.warnings == ("all 40 eval examples expect 'a': a model that always gives it scores 100 %",)


def test_choices_with_a_constant_position_count_as_a_single_label() -> None:
    always = [
        EvalRow.of("multiple_choice", {"id": i, "text": f"{i}", "target": f"x{i}", "choices": [f"x{i}", "y"]})
        for i in range(40)
    ]
    assert "expect 'choice 1'" in eval_set_facts(always).warnings[0]


def test_warning_about_a_text_with_two_labels_names_both_rows() -> None:
    facts = eval_set_facts(rows(*((f"text {i}", "ab"[i % 2]) for i in range(40)), ("text 3", "a")))
    assert any("'text 3', expects 'b' in row 4 and 'a' in row 41" in warning for warning in facts.warnings)
