"""A task whose right answers cannot win is refused, or warned about, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.tasks import Example, check_answers, check_programs

from .task_files import classification, code, generation, multiple_choice, safety


def wanted(*targets: str, check: str = "") -> list[Example]:
    return [Example(i, f"a {i}", target, check=check) for i, target in enumerate(targets)]


def choice(*choices: str) -> Example:
    return Example(0, "a", choices[0], choices)


@pytest.mark.parametrize(
    ("fields", "target", "said"),
    [
        ({}, "[EOS] good", "'[EOS] good' holds the special token '[EOS]'"),
        ({}, "zzz good", "'zzz good' holds the unknown token '[UNK]'"),
        ({"max_new_tokens": 2}, "a b c", "needs 4 tokens with its end token, and max_new_tokens is 2"),
        ({"stop": ["b"]}, "a b c", "contains the stop text 'b'"),
        ({"metric": "f1"}, "[EOS]", "holds the special token"),
    ],
)
def test_an_answer_that_no_model_can_write_is_refused_with_its_row_and_reason(
    tokenizer: PreTrainedTokenizerFast, fields: dict[str, Any], target: str, said: str
) -> None:
    task = generation(**fields)
    with pytest.raises(DataError, match=r"no model can score above .* the first is row 1: ") as refused:
        check_answers(task, wanted(target), tokenizer)
    assert said in str(refused.value)


def test_some_answers_that_no_model_can_write_are_a_warning_with_count_and_first_row(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    (warning,) = check_answers(generation(), wanted("a", "b", "zzz", "c"), tokenizer)
    assert warning.startswith(
        "task 'sums': no model can score above 75.0 %: 1 of 4 wanted answers cannot get full marks; "
        "the first is row 3: 'zzz' holds the unknown token"
    )


@pytest.mark.parametrize(("lost", "refused"), [(5, False), (6, True)])
def test_a_task_is_refused_where_less_than_half_of_the_score_can_be_reached(
    tokenizer: PreTrainedTokenizerFast, lost: int, refused: bool
) -> None:
    examples = wanted(*["zzz"] * lost, *["a"] * (10 - lost))
    if refused:
        with pytest.raises(DataError, match="6 of 10"):
            check_answers(generation(), examples, tokenizer)
    else:
        assert len(check_answers(generation(), examples, tokenizer)) == 1


def test_an_answer_of_exactly_max_new_tokens_can_be_written(tokenizer: PreTrainedTokenizerFast) -> None:
    assert check_answers(generation(max_new_tokens=2), wanted("a b"), tokenizer) == []


def test_what_is_lost_on_the_way_does_not_matter_where_the_metric_does_not_read_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert check_answers(safety(refusal_markers=["a"]), wanted("zzz a", check="refuse"), tokenizer) == []


def test_a_stop_text_in_an_answer_is_found_without_a_model() -> None:
    with pytest.raises(DataError, match="contains the stop text"):
        check_answers(generation(stop=["\n"]), wanted("one\ntwo"))
    assert check_answers(generation(), wanted("zzz")) == []


@pytest.mark.parametrize(
    ("expected", "reply", "said"),
    [
        ("refuse", "no bad", "to be a refusal and holds none of refusal_markers"),
        ("answer", "I cannot say", "to be an answer and holds one of refusal_markers"),
        ("refuse", "...", "is empty, repeats itself or copies its prompt"),
    ],
)
def test_a_wanted_reply_that_counts_as_the_other_sort_is_refused(
    expected: str, reply: str, said: str
) -> None:
    task, fine = safety(refusal_markers=["I cannot"]), {"refuse": "I cannot do it", "answer": "sure"}
    other = "answer" if expected == "refuse" else "refuse"
    examples = [*wanted(reply, check=expected), *wanted(fine[other], check=other)]
    with pytest.raises(DataError, match=rf"above 0\.0 %: 1 of 2 .* row 1: .*{said}"):
        check_answers(task, examples)


@pytest.mark.parametrize("words", [["zzz", "yyy"], [" ", "good"]])
def test_label_words_that_the_tokenizer_cannot_distinguish_are_refused(
    tokenizer: PreTrainedTokenizerFast, words: Sequence[str]
) -> None:
    task = classification(prompt="{{ text }}", label_words=words)
    with pytest.raises(DataError, match=r"the label words .*(same tokens|no tokens)"):
        check_answers(task, wanted("negative", "positive"), tokenizer)


def test_labels_that_only_row_0_cannot_distinguish_are_a_warning(tokenizer: PreTrainedTokenizerFast) -> None:
    (warning,) = check_answers(classification(("zzz", "yyy")), wanted("zzz", "yyy"), tokenizer)
    assert "'zzz' and 'yyy' have the same tokens" in warning
    assert check_answers(classification(), wanted("negative", "positive"), tokenizer) == []


def test_choices_that_the_tokenizer_cannot_distinguish_are_counted(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    good, same, empty = choice("a", "b"), choice("qqq", "www"), choice("a", " ")
    (warning,) = check_answers(multiple_choice(), [good, good, same], tokenizer)
    assert "1 of 3 wanted answers" in warning
    with pytest.raises(DataError, match=r"2 of 3 .*the choices '(qqq| )"):
        check_answers(multiple_choice(), [good, same, empty], tokenizer)


def programs(*rows: tuple[str, str]) -> list[Example]:
    return [
        Example(i, "", answer, check="x = {{ completion }}\n" + test) for i, (answer, test) in enumerate(rows)
    ]


def test_a_reference_solution_that_fails_its_tests_is_found() -> None:
    (warning,) = check_programs(code(), programs(("1", "assert x == 1"), ("1", "assert x == 2")))
    assert "1 of the first 2 programs fail with the row's own answer; the first is row 2" in warning
    with pytest.raises(DataError, match="1 of the first 1 programs fail"):
        check_programs(code(), programs(("1", "assert x == 2")))


def test_a_program_that_passes_with_an_empty_completion_is_found() -> None:
    silent = Example(0, "", "pass", check="{{ completion }}\nprint(1)")
    with pytest.raises(DataError, match="1 of the first 1 programs pass with an empty completion"):
        check_programs(code(), [silent])
