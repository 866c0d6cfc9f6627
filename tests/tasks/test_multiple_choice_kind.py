from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.tasks import KINDS, Example, eval_examples, from_jsonl, to_jsonl
from lori_cl.tasks.kinds.likelihood import log_likelihoods

from .task_files import multiple_choice, write_rows
from .tiny_models import WORDS, gpt2, llama, word_tokenizer

KIND = KINDS["multiple_choice"]
TASK = multiple_choice()
EXAMPLES = [
    Example(0, "a b c d e f", "good", ("good", "bad poor awful", "fine great")),
    Example(1, "g", "bad", ("bad", "good fine")),
    Example(2, "h a b", "great", ("great", "poor", "awful awful awful awful", "fine")),
    Example(3, "c c c c c c c c", "a b", ("a b", "b a")),
]


@pytest.fixture(scope="module", params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return request.param()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


@torch.no_grad()
def one_by_one(model: PreTrainedModel, prompt: str, choice: str) -> float:
    """log p of the choice, by reading prompt and choice alone, without padding or cache."""
    whole = torch.tensor([ids(f"{prompt} {choice}")])
    log_p = model(input_ids=whole).logits[0].log_softmax(dim=-1)
    first = len(ids(prompt))
    return sum(float(log_p[t - 1, whole[0, t]]) for t in range(first, whole.shape[1]))


@torch.no_grad()
def scored(model: PreTrainedModel, examples: Sequence[Example]) -> list[torch.Tensor]:
    choices = [[ids(choice) for choice in e.choices] for e in examples]
    return log_likelihoods(model, 0, [ids(e.text) for e in examples], choices)


def test_likelihoods_with_a_shared_prompt_are_those_of_reading_each_choice_alone(
    model: PreTrainedModel,
) -> None:
    for example, found in zip(EXAMPLES, scored(model, EXAMPLES), strict=True):
        expected = [one_by_one(model, example.text, choice) for choice in example.choices]
        assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_likelihoods_do_not_depend_on_the_batch(model: PreTrainedModel) -> None:
    together = scored(model, EXAMPLES)
    for example, found in zip(EXAMPLES, together, strict=True):
        torch.testing.assert_close(scored(model, [example])[0], found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("normalise", "length"),
    [("none", lambda c: 1), ("tokens", lambda c: len(c.split())), ("bytes", lambda c: len(c.encode()))],
)
@torch.no_grad()
def test_the_likeliest_choice_for_its_length_is_the_answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, normalise: str, length: Any
) -> None:
    expected = [
        max(e.choices, key=lambda c, e=e: one_by_one(model, e.text, c) / length(c))  # type: ignore[misc]
        for e in EXAMPLES
    ]
    task = multiple_choice(normalise=normalise)
    assert KIND.answers(task, model, tokenizer, EXAMPLES, 64) == expected


@torch.no_grad()
def test_a_long_prompt_is_cut_from_the_left_so_that_the_longest_choice_fits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    long, short = EXAMPLES[0], Example(0, "e f", "good", EXAMPLES[0].choices)
    assert KIND.answers(TASK, model, tokenizer, [long], 5) == KIND.answers(
        TASK, model, tokenizer, [short], 64
    )
    assert KIND.truncated(TASK, tokenizer, EXAMPLES, 9) == 1  # 8 and 2 tokens; 6 and 3 fit
    with pytest.raises(DataError, match=r"the answer has 3 tokens and train\.max_length is 3"):
        KIND.answers(TASK, model, tokenizer, [long], 3)


def test_the_right_choice_alone_is_taught(tokenizer: PreTrainedTokenizerFast) -> None:
    found = KIND.features(TASK, tokenizer, EXAMPLES[0], 64)
    assert found.fields["input_ids"] == ids("a b c d e f good")
    assert found.fields["labels"] == [-100] * 6 + ids("good")


@pytest.mark.parametrize(
    ("answer_is", "label", "right"),
    [("position", "1", "poor"), ("number", "1", "good"), ("letter", "B", "poor"), ("text", "poor", "poor")],
)
def test_the_answer_is_read_in_the_sense_that_the_task_says(
    tmp_path: Path, answer_is: str, label: str, right: str
) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "x": "good", "y": "poor", "label": label}])
    (example,) = eval_examples(multiple_choice(answer_is=answer_is), tmp_path)
    assert example == Example(0, "a", right, ("good", "poor"))
    assert from_jsonl(to_jsonl([example])) == [example]


def test_choices_may_stand_in_a_column_of_lists(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "endings": ["good", "poor", "bad"], "label": 2}])
    (example,) = eval_examples(multiple_choice(choices="endings"), tmp_path)
    assert (example.target, example.choices) == ("bad", ("good", "poor", "bad"))


ROW = {"q": "a", "endings": ["good", "poor"], "label": 0}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{**ROW, "label": 2}],
            "line 1: the answer '2' is none of the 2 choices, read as answer_is: position",
        ),
        ([{**ROW, "label": "A"}], "line 1: the answer 'A' is none of the 2 choices"),
        ([{**ROW, "endings": "good"}], "line 1: column 'endings' holds no list of texts"),
        ([{**ROW, "endings": ["good", " "]}], "line 1: column 'endings' holds no list of texts"),
        (
            [{**ROW, "endings": ["good", "good"]}],
            "line 1: 2 choices; there must be at least 2, all different",
        ),
        ([ROW, {**ROW, "endings": ["a", "b", "c"]}], "line 2: 3 choices, and the first row has 2"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", rows)
    with pytest.raises(DataError, match=said):
        eval_examples(multiple_choice(choices="endings"), tmp_path)


def test_rows_of_different_numbers_of_choices_are_taken_where_the_task_allows_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [ROW, {**ROW, "endings": ["a", "b", "c"]}])
    task = multiple_choice(choices="endings", allow_unequal=True)
    assert [len(e.choices) for e in eval_examples(task, tmp_path)] == [2, 3]


def test_a_delimiter_stands_before_every_choice(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [ROW])
    (example,) = eval_examples(multiple_choice(choices="endings", delimiter=" "), tmp_path)
    assert (example.choices, example.target) == ((" good", " poor"), " good")


def test_choices_may_lie_in_a_table_in_a_column(tmp_path: Path) -> None:
    row = {"q": "a", "choices": {"text": ["good", "poor"], "label": ["A", "B"]}, "key": "B"}
    write_rows(tmp_path / "data" / "test.jsonl", [row])
    task = multiple_choice(choices="choices.text", answer="{{ choices.label.index(key) }}")
    (example,) = eval_examples(task, tmp_path)
    assert (example.choices, example.target) == (("good", "poor"), "poor")
