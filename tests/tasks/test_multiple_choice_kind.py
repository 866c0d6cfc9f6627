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
    """Return log p of the choice from a separate pass without padding or cache."""
    tokens = torch.tensor([ids(f"{prompt} {choice}")])
    log_p = model(input_ids=tokens).logits[0].log_softmax(dim=-1)
    first = len(ids(prompt))
    return sum(float(log_p[t - 1, tokens[0, t]]) for t in range(first, tokens.shape[1]))


@torch.no_grad()
def scored(model: PreTrainedModel, examples: Sequence[Example]) -> list[torch.Tensor]:
    choices = [[ids(choice) for choice in e.choices] for e in examples]
    return log_likelihoods(model, 0, [ids(e.text) for e in examples], choices)


def test_likelihoods_with_a_shared_prompt_match_separate_passes(
    model: PreTrainedModel,
) -> None:
    for example, found in zip(EXAMPLES, scored(model, EXAMPLES), strict=True):
        expected = [one_by_one(model, example.text, choice) for choice in example.choices]
        assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_likelihoods_do_not_depend_on_the_batch(model: PreTrainedModel) -> None:
    batched = scored(model, EXAMPLES)
    for example, found in zip(EXAMPLES, batched, strict=True):
        torch.testing.assert_close(scored(model, [example])[0], found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("normalise", "length"),
    [("none", lambda c: 1), ("tokens", lambda c: len(c.split())), ("bytes", lambda c: len(c.encode()))],
)
@torch.no_grad()
def test_choice_with_the_highest_mean_log_probability_is_predicted(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, normalise: str, length: Any
) -> None:
    expected = [
        max(e.choices, key=lambda c, e=e: one_by_one(model, e.text, c) / length(c))  # type: ignore[misc]
        for e in EXAMPLES
    ]
    task = multiple_choice(normalise=normalise)
    assert KIND.answers(task, model, tokenizer, EXAMPLES, 64) == expected


@torch.no_grad()
def test_long_prompt_is_truncated_from_the_left_to_fit_the_longest_choice(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    long, short = EXAMPLES[0], Example(0, "e f", "good", EXAMPLES[0].choices)
    assert KIND.answers(TASK, model, tokenizer, [long], 5) == KIND.answers(
        TASK, model, tokenizer, [short], 64
    )
    assert KIND.truncated(TASK, tokenizer, EXAMPLES, 9) == 1  # 8 and 2 tokens; 6 and 3 fit
    with pytest.raises(DataError, match=r"the answer has 3 tokens, but train\.max_length is 3"):
        KIND.answers(TASK, model, tokenizer, [long], 3)


def test_only_the_correct_choice_is_trained(tokenizer: PreTrainedTokenizerFast) -> None:
    found = KIND.features(TASK, tokenizer, EXAMPLES[0], 64)
    assert found.fields["input_ids"] == ids("a b c d e f good")
    assert found.fields["labels"] == [-100] * 6 + ids("good")


@pytest.mark.parametrize(
    ("answer_is", "label", "right"),
    [("position", "1", "poor"), ("number", "1", "good"), ("letter", "B", "poor"), ("text", "poor", "poor")],
)
def test_answer_is_read_as_answer_is_declares(tmp_path: Path, answer_is: str, label: str, right: str) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "x": "good", "y": "poor", "label": label}])
    (example,) = eval_examples(multiple_choice(answer_is=answer_is), tmp_path)
    assert example == Example(0, "a", right, ("good", "poor"))
    assert from_jsonl(to_jsonl([example])) == [example]


def test_choices_may_be_a_list_column(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "endings": ["good", "poor", "bad"], "label": 2}])
    (example,) = eval_examples(multiple_choice(choices="endings"), tmp_path)
    assert (example.target, example.choices) == ("bad", ("good", "poor", "bad"))


ROW = {"q": "a", "endings": ["good", "poor"], "label": 0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{**ROW, "label": 2}],
            "line 1: the answer '2' is not one of the 2 choices, with answer_is: position",
        ),
        ([{**ROW, "label": "A"}], "line 1: the answer 'A' is not one of the 2 choices"),
        ([{**ROW, "endings": "good"}], "line 1: column 'endings' does not contain a list of texts"),
        ([{**ROW, "endings": ["good", " "]}], "line 1: column 'endings' does not contain a list of texts"),
        (
            [{**ROW, "endings": ["good", "good"]}],
            "line 1: 2 choices; at least 2 are required, all different",
        ),
        ([ROW, {**ROW, "endings": ["a", "b", "c"]}], "line 2: 3 choices, but the first row has 2"),
    ],
)
def test_invalid_row_is_refused_with_its_line(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", rows)
    with pytest.raises(DataError, match=message):
        eval_examples(multiple_choice(choices="endings"), tmp_path)


def test_different_numbers_of_choices_are_accepted_if_the_task_allows_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [ROW, {**ROW, "endings": ["a", "b", "c"]}])
    task = multiple_choice(choices="endings", allow_unequal=True)
    assert [len(e.choices) for e in eval_examples(task, tmp_path)] == [2, 3]


def test_delimiter_precedes_every_choice(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [ROW])
    (example,) = eval_examples(multiple_choice(choices="endings", delimiter=" "), tmp_path)
    assert (example.choices, example.target) == ((" good", " poor"), " good")


def test_choices_may_be_a_nested_column(tmp_path: Path) -> None:
    row = {"q": "a", "choices": {"text": ["good", "poor"], "label": ["A", "B"]}, "key": "B"}
    write_rows(tmp_path / "data" / "test.jsonl", [row])
    task = multiple_choice(choices="choices.text", answer="{{ choices.label.index(key) }}")
    (example,) = eval_examples(task, tmp_path)
    assert (example.choices, example.target) == (("good", "poor"), "poor")
