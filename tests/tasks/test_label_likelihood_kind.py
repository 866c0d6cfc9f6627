from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from lori_cl.errors import DataError
from lori_cl.tasks import Example, eval_examples, kind_of

from .task_files import classification, write_rows
from .tiny_models import WORDS, llama, word_tokenizer

TASK = classification(prompt="{{ text }} is", label_words=[" bad poor", " good"])
EXAMPLES = [Example(i, text, "negative") for i, text in enumerate(["a b", "c", "d e f g h", "h"])]


def test_task_with_a_prompt_needs_a_causal_lm_and_without_one_an_encoder() -> None:
    assert kind_of(TASK).architecture == "causal-lm"
    assert kind_of(classification()).architecture == "encoder"


def test_prompt_is_filled_and_label_is_validated(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": "a b", "label": 1}])
    assert eval_examples(TASK, tmp_path) == [Example(0, "a b is", "positive")]
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": "a b", "label": "positve"}])
    with pytest.raises(DataError, match=r"line 1: label 'positve' .* Did you mean 'positive'"):
        eval_examples(TASK, tmp_path)


@torch.no_grad()
def test_label_with_the_highest_mean_log_probability_is_predicted() -> None:
    model, tokenizer = llama(), word_tokenizer()

    def mean_log_p(prompt: str, words: str) -> float:
        ids = [WORDS.index(word) for word in f"{prompt} {words}".split()]
        log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        first = len(prompt.split())
        return sum(float(log_p[t - 1, ids[t]]) for t in range(first, len(ids))) / (len(ids) - first)

    expected = [
        max(zip(TASK.labels, TASK.words, strict=True), key=lambda pair, e=e: mean_log_p(e.text, pair[1]))[0]
        for e in EXAMPLES
    ]
    assert kind_of(TASK).answers(TASK, model, tokenizer, EXAMPLES, 32) == expected


def test_label_words_are_the_training_target_after_the_prompt() -> None:
    fields = kind_of(TASK).features(TASK, word_tokenizer(), EXAMPLES[1], 32).fields
    assert fields["input_ids"] == [WORDS.index(w) for w in ("c", "bad", "poor")]
    assert fields["labels"] == [-100, WORDS.index("bad"), WORDS.index("poor")]


@pytest.mark.parametrize("words", [[" bad"], [" bad", " bad"], [" bad", ""]])
def test_every_label_needs_distinct_words(words: list[str]) -> None:
    with pytest.raises(ValidationError, match="give every label its own words"):
        classification(prompt="{{ text }}", label_words=words)


def test_label_words_without_a_prompt_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs 'prompt' too"):
        classification(label_words=[" bad", " good"])
