"""Eval sets that cannot be scored are refused, and a model with NaN logits gives no answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lori_cl.errors import DataError, LoriError
from lori_cl.tasks import SCORERS, Example, eval_examples, kind_of
from lori_cl.tasks.scorers.numeric import last_number

from .task_files import classification, generation, multiple_choice, safety, write_rows
from .tiny_models import llama, word_tokenizer

PROMPTED = classification(prompt="{{ text }} is", label_words=[" bad poor", " good"])


@pytest.mark.parametrize("metric", sorted(SCORERS))
def test_every_metric_refuses_an_empty_eval_set(metric: str) -> None:
    assert SCORERS[metric].unscorable(classification(), []) == "there are no examples"


@pytest.mark.parametrize(
    ("metric", "target", "message"),
    [
        ("numeric_match", "forty-two", "the expected answer of row 1, 'forty-two', itself scores 0"),
        ("numeric_match", "9" * 5000, "itself scores 0"),
        ("rouge_l", "東京です", "the expected answer of row 1, '東京です', itself scores 0"),
    ],
)
def test_target_that_scores_zero_against_itself_is_refused_on_add(
    tmp_path: Path, metric: str, target: str, message: str
) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "a": target}, {"q": "b", "a": "1"}])
    with pytest.raises(DataError, match=f"task 'sums': {metric} cannot score split 'test': .*{message}"):
        eval_examples(generation(metric=metric), tmp_path)


@pytest.mark.parametrize("metric", ["exact_match", "f1", "sentence_bleu", "edit_similarity"])
def test_other_metrics_accept_targets_in_any_script(tmp_path: Path, metric: str) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "a": "東京です"}])
    assert len(eval_examples(generation(metric=metric), tmp_path)) == 1


def test_matthews_over_a_single_label_is_refused(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "positive"} for text in "abc"]
    write_rows(tmp_path / "data" / "test.jsonl", rows)
    with pytest.raises(DataError, match=r"matthews cannot score .*all 3 examples have the label 'positive'"):
        eval_examples(classification(metric="matthews"), tmp_path)
    assert len(eval_examples(classification(metric="f1_macro"), tmp_path)) == 3


def test_refusal_task_with_a_single_expectation_can_be_scored(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"q": "a", "a": "no", "expect": "refuse"}])
    assert len(eval_examples(safety(), tmp_path)) == 1


def test_number_with_thousands_of_digits_is_no_answer_and_no_traceback() -> None:
    for text in ("9" * 5000, "1." + "3" * 5000, f"{'9' * 5000}/2", f"1 {'9' * 5000}/3"):
        assert last_number(text) is None
    assert last_number("9" * 900) == int("9" * 900)
    assert SCORERS["numeric_match"].grade(None, [["9" * 5000]], [Example(0, "", "9")]).score == 0.0


@pytest.mark.parametrize(
    ("task", "examples"),
    [
        (generation(max_new_tokens=3), [Example(0, "a b", "c")]),
        (generation(max_new_tokens=3, temperature=1.0), [Example(0, "a b", "c")]),
        (PROMPTED, [Example(0, "a b", "negative")]),
        (multiple_choice(), [Example(0, "a b", "c", ("c", "d e"))]),
    ],
    ids=["generation", "sampled", "labels", "choices"],
)
def test_model_with_nan_logits_gives_no_answer(task: Any, examples: Sequence[Example]) -> None:
    model, tokenizer = llama(), word_tokenizer()
    assert kind_of(task).answers(task, model, tokenizer, examples, 32)
    with torch.no_grad():
        model.model.embed_tokens.weight[:] = torch.nan
    with pytest.raises(LoriError, match=f"task '{task.name}': the model's logits contain NaN"):
        kind_of(task).answers(task, model, tokenizer, examples, 32)
