"""Prompts have one BOS and no end token before the answer, whatever special tokens the tokenizer adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.prompt_tokens import cut_prompt_ids, prompt_ids

from .task_files import classification, code, generation, multiple_choice, safety
from .tiny_models import WORDS, llama

LONG = Example(0, "a b c d e f g h", "good", ("good", "bad"))
SHORT = Example(0, "a b", "good", ("good", "bad"))
LABELLED = {"prompt": "{{ text }}", "label_words": [" good", " bad"]}
TASKS: dict[str, Callable[..., Any]] = {
    "label likelihood": lambda **more: classification(labels=("good", "bad"), **LABELLED, **more),
    "multiple choice": multiple_choice,
    "generation": lambda **more: generation(max_new_tokens=1, **more),
    "code": lambda **more: code(max_new_tokens=1, **more),
    "safety": lambda **more: safety(max_new_tokens=1, **more),
}
CHAT = (
    "{{ bos_token }} fine {% for m in messages %}{{ m['content'] }}{% endfor %} great "
    "{% if add_generation_prompt %}poor {% endif %}"
)


def with_special_tokens(tokenizer: PreTrainedTokenizerFast, form: str) -> PreTrainedTokenizerFast:
    special = [(word, WORDS.index(word)) for word in form.split() if word != "$A"]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(form, special_tokens=special)
    return tokenizer


def words(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


def read(task: Any, tokenizer: Any, example: Example, max_length: int = 32) -> str:
    return words(kind_of(task).prompt_tokens(task, tokenizer, example, max_length))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("form", "prompt"),
    [
        ("$A", "a b"),
        ("[BOS] $A", "[BOS] a b"),
        ("$A [EOS]", "a b"),
        ("[BOS] $A [EOS]", "[BOS] a b"),
        ("great $A awful poor", "great a b"),  # as BERT's [CLS] and [SEP]
    ],
)
def test_tokenizer_adds_no_token_between_prompt_and_answer(
    name: str, form: str, prompt: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    task = TASKS[name]()
    assert read(task, with_special_tokens(tokenizer, form), SHORT) == prompt
    training_input = kind_of(task).features(task, tokenizer, SHORT, 32).fields
    end = " [EOS]" if name in {"generation", "code", "safety"} else ""
    assert words(training_input["input_ids"]) == f"{prompt} good{end}"
    assert training_input["labels"].count(-100) == len(prompt.split())


def test_model_input_has_no_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    task, model, seen = generation(max_new_tokens=1), llama(), []
    model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].tolist()), with_kwargs=True
    )
    kind_of(task).answers(task, model, with_special_tokens(tokenizer, "[BOS] $A [EOS]"), [SHORT], 32)
    assert words(seen[0][0]) == "[BOS] a b"


@pytest.mark.parametrize("name", TASKS)
def test_truncated_prompt_keeps_its_bos(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    task = TASKS[name]()
    assert read(task, with_special_tokens(tokenizer, "[BOS] $A [EOS]"), LONG, 6).split()[:2] in (
        ["[BOS]", "d"],
        ["[BOS]", "e"],
    )
    training_input = words(kind_of(task).features(task, tokenizer, LONG, 6).fields["input_ids"]).split()
    assert (training_input[0], len(training_input)) == ("[BOS]", 6)
    assert training_input[1] in "defg"


def test_truncated_prompt_keeps_a_bos_written_in_its_text(tokenizer: PreTrainedTokenizerFast) -> None:
    example = Example(0, f"[BOS] {LONG.text}", "good")
    assert words(cut_prompt_ids(generation(), tokenizer, example, 4)) == "[BOS] f g h"


@pytest.mark.parametrize("form", ["[BOS] $A", "[BOS] $A [EOS]"])
def test_bos_in_the_prompt_text_is_not_doubled_by_the_tokenizer(
    form: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    example = Example(0, "[BOS] a b", "good")
    assert words(prompt_ids(generation(), with_special_tokens(tokenizer, form), example)) == "[BOS] a b"


def test_bos_in_the_middle_of_a_prompt_is_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    example = Example(0, "a [EOS] [BOS] b", "good")  # several turns in one text
    found = words(prompt_ids(generation(), with_special_tokens(tokenizer, "[BOS] $A"), example))
    assert found == "[BOS] a [EOS] [BOS] b"


@pytest.fixture
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = CHAT
    return with_special_tokens(tokenizer, "[BOS] $A [EOS]")


@pytest.mark.parametrize("name", TASKS)
def test_chat_template_writes_the_only_bos(name: str, chat_tokenizer: PreTrainedTokenizerFast) -> None:
    assert read(TASKS[name](chat=True), chat_tokenizer, SHORT) == "[BOS] fine a b great poor"


def test_bos_in_a_user_turn_is_not_doubled_by_the_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    example = Example(0, "[BOS] a b", "good")
    assert words(prompt_ids(generation(chat=True), chat_tokenizer, example)) == "[BOS] fine a b great poor"


def test_single_bos_of_a_chat_stays_where_the_prompt_writes_it(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    chat_tokenizer.chat_template = "{{ messages[0]['content'] }} great "
    example = Example(0, "[BOS] a b", "good")
    assert words(prompt_ids(generation(chat=True), chat_tokenizer, example)) == "[BOS] a b great"


@pytest.mark.parametrize("name", TASKS)
def test_truncated_chat_keeps_its_header_and_generation_prompt(
    name: str, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    task = TASKS[name](chat=True)
    found = read(task, chat_tokenizer, LONG, 7).split()
    assert found[:2] == ["[BOS]", "fine"]
    assert found[-3:] == ["h", "great", "poor"]
    assert len(found) == 7 - (name in {"label likelihood", "multiple choice"})
    training_input = words(kind_of(task).features(task, chat_tokenizer, LONG, 8).fields["input_ids"])
    assert training_input.startswith("[BOS] fine ")
    assert " h great poor good" in training_input


def test_chat_is_truncated_even_if_its_template_trims_the_turn(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    chat_tokenizer.chat_template = CHAT.replace("m['content']", "m['content'] | trim")
    example = Example(0, f"  {LONG.text}  ", "good")
    assert (
        words(cut_prompt_ids(generation(chat=True), chat_tokenizer, example, 6))
        == "[BOS] fine g h great poor"
    )


def test_prompt_truncated_to_nothing_is_refused(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    expected = r"row 1: 4 tokens are left for the prompt, but the chat template alone needs 4; raise .* by 1"
    with pytest.raises(DataError, match=expected):
        cut_prompt_ids(generation(chat=True), chat_tokenizer, LONG, 4)
    with pytest.raises(DataError, match="row 1: 1 tokens are left for the prompt, but its BOS alone needs 1"):
        cut_prompt_ids(generation(), chat_tokenizer, LONG, 1)


def test_prompt_that_fits_is_not_truncated(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    assert (
        words(cut_prompt_ids(generation(chat=True), chat_tokenizer, SHORT, 6)) == "[BOS] fine a b great poor"
    )
