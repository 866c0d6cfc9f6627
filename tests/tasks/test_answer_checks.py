"""Before training, a task with unreachable right answers is refused or gives a warning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.tasks import Example, check_answers, check_programs

from .task_files import classification, code, generation, multiple_choice, safety


def examples_with(*targets: str, check: str = "") -> list[Example]:
    return [Example(i, f"a {i}", target, check=check) for i, target in enumerate(targets)]


def choice(*choices: str) -> Example:
    return Example(0, "a", choices[0], choices)


@pytest.mark.parametrize(
    ("fields", "target", "message"),
    [
        ({}, "[EOS] good", "'[EOS] good' contains the special token '[EOS]'"),
        ({}, "zzz good", "'zzz good' contains the unknown token '[UNK]'"),
        ({"max_new_tokens": 2}, "a b c", "needs 4 tokens with its end token, but max_new_tokens is 2"),
        ({"stop": ["b"]}, "a b c", "contains the stop text 'b'"),
        ({"metric": "f1"}, "[EOS]", "contains the special token"),
    ],
)
def test_unreachable_target_is_refused_with_row_and_reason(
    tokenizer: PreTrainedTokenizerFast, fields: dict[str, Any], target: str, message: str
) -> None:
    task = generation(**fields)
    with pytest.raises(DataError, match=r"no model can score above .* the first is row 1: ") as refused:
        check_answers(task, examples_with(target), tokenizer)
    assert message in str(refused.value)


def test_few_unreachable_targets_give_a_warning_with_count_and_first_row(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    (warning,) = check_answers(generation(), examples_with("a", "b", "zzz", "c"), tokenizer)
    assert warning.startswith(
        "task 'sums': no model can score above 75.0 %: 1 of 4 reference answers cannot get full marks; "
        "the first is row 3: 'zzz' contains the unknown token"
    )


@pytest.mark.parametrize(("lost", "refused"), [(5, False), (6, True)])
def test_task_is_refused_when_less_than_half_of_the_score_is_reachable(
    tokenizer: PreTrainedTokenizerFast, lost: int, refused: bool
) -> None:
    examples = examples_with(*["zzz"] * lost, *["a"] * (10 - lost))
    if refused:
        with pytest.raises(DataError, match="6 of 10"):
            check_answers(generation(), examples, tokenizer)
    else:
        assert len(check_answers(generation(), examples, tokenizer)) == 1


def test_target_of_exactly_max_new_tokens_is_reachable(tokenizer: PreTrainedTokenizerFast) -> None:
    assert check_answers(generation(max_new_tokens=2), examples_with("a b"), tokenizer) == []


def test_text_lost_in_tokenization_is_ignored_if_the_metric_does_not_read_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert (
        check_answers(safety(refusal_markers=["a"]), examples_with("zzz a", check="refuse"), tokenizer) == []
    )


def test_stop_text_in_a_target_is_found_without_a_model() -> None:
    with pytest.raises(DataError, match="contains the stop text"):
        check_answers(generation(stop=["\n"]), examples_with("one\ntwo"))
    assert check_answers(generation(), examples_with("zzz")) == []


@pytest.mark.parametrize(
    ("expected", "reply", "message"),
    [
        ("refuse", "no bad", "should be a refusal but contains none of refusal_markers"),
        ("answer", "I cannot say", "should be an answer but contains one of refusal_markers"),
        ("refuse", "...", "is empty, repeats itself or copies its prompt"),
    ],
)
def test_target_graded_as_the_opposite_expectation_is_refused(
    expected: str, reply: str, message: str
) -> None:
    task, fine = safety(refusal_markers=["I cannot"]), {"refuse": "I cannot do it", "answer": "sure"}
    other = "answer" if expected == "refuse" else "refuse"
    examples = [*examples_with(reply, check=expected), *examples_with(fine[other], check=other)]
    with pytest.raises(DataError, match=rf"above 0\.0 %: 1 of 2 .* row 1: .*{message}"):
        check_answers(task, examples)


@pytest.mark.parametrize("words", [["zzz", "yyy"], [" ", "good"]])
def test_label_words_with_equal_token_ids_are_refused(
    tokenizer: PreTrainedTokenizerFast, words: Sequence[str]
) -> None:
    task = classification(prompt="{{ text }}", label_words=words)
    with pytest.raises(DataError, match=r"the label words .*(same tokens|no tokens)"):
        check_answers(task, examples_with("negative", "positive"), tokenizer)


def test_labels_with_equal_token_ids_in_row_0_give_a_warning(tokenizer: PreTrainedTokenizerFast) -> None:
    (warning,) = check_answers(classification(("zzz", "yyy")), examples_with("zzz", "yyy"), tokenizer)
    assert "'zzz' and 'yyy' have the same tokens" in warning
    assert check_answers(classification(), examples_with("negative", "positive"), tokenizer) == []


def test_choices_with_equal_token_ids_are_counted(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    good, same, empty = choice("a", "b"), choice("qqq", "www"), choice("a", " ")
    (warning,) = check_answers(multiple_choice(), [good, good, same], tokenizer)
    assert "1 of 3 reference answers" in warning
    with pytest.raises(DataError, match=r"2 of 3 .*the choices '(qqq| )"):
        check_answers(multiple_choice(), [good, same, empty], tokenizer)


def programs(*rows: tuple[str, str]) -> list[Example]:
    return [
        Example(i, "", answer, check="x = {{ completion }}\n" + test) for i, (answer, test) in enumerate(rows)
    ]


def test_reference_solution_that_fails_its_tests_is_reported() -> None:
    (warning,) = check_programs(code(), programs(("1", "assert x == 1"), ("1", "assert x == 2")))
    assert "1 of the first 2 programs fail with the reference answer; the first is row 2" in warning
    with pytest.raises(DataError, match="1 of the first 1 programs fail"):
        check_programs(code(), programs(("1", "assert x == 2")))


def test_program_that_passes_with_an_empty_completion_is_reported() -> None:
    silent = Example(0, "", "pass", check="{{ completion }}\nprint(1)")
    with pytest.raises(DataError, match="1 of the first 1 programs pass with an empty completion"):
        check_programs(code(), [silent])
