"""The text of an unfinished answer is sent as soon as no later token changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lori_cl.serving.openai_server.answer_text import AnswerText, stable_text
from lori_cl.spec import GenerationSpec
from lori_cl.tasks import kind_of


@pytest.mark.parametrize(
    ("text", "stop", "stable"),
    [
        ("red blue", [], "red blue"),
        ("red blue \n", [], "red blue"),
        ("caf\ufffd", [], "caf"),
        ("red\nQ", ["\nQuestion"], "red"),
        ("red\nQ", ["\nAnswer"], "red\nQ"),
        ("aab", ["abab"], "a"),
        ("red bl", ["xyz", "blue"], "red"),
        ("", ["blue"], ""),
    ],
)
def test_only_the_stable_part_of_a_text_is_sent(text: str, stop: list[str], stable: str) -> None:
    assert stable_text(text, stop) == stable


def answer_text(tokenizer: object, **fields: object) -> AnswerText:
    declared = {"kind": "generation", "name": "t", "source": {"local": "t"}, "prompt": "{{ q }}"}
    spec = GenerationSpec.model_validate({**declared, "answer": "{{ a }}", "max_new_tokens": 4, **fields})
    return AnswerText(spec, kind_of(spec), tokenizer, [2])


def test_finish_reason_and_tokens_count_the_end_token_but_no_padding(tiny_causal_lm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_causal_lm)
    red, blue = tokenizer.convert_tokens_to_ids(["red", "blue"])
    end, pad = 2, tokenizer.pad_token_id

    def result(written: list[int], **fields: object) -> tuple[str, int]:
        text = answer_text(tokenizer, **fields)
        text.update(written, decode=False)
        return text.finish_reason, text.n_tokens

    assert result([red, blue, end]) == ("stop", 3)
    assert result([red, blue, end, pad]) == ("stop", 3)
    assert result([red, blue, red, end]) == ("stop", 4)
    assert result([red, blue, red, blue]) == ("length", 4)
    assert result([red, blue, pad, pad], stop=["blue"]) == ("stop", 2)


def test_parts_of_an_answer_are_the_answer(tiny_causal_lm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_causal_lm)
    ids = tokenizer.convert_tokens_to_ids(["red", "blue", "wet", "dry"])
    text = answer_text(tokenizer, stop=["wet dry"])
    parts = [text.update(ids[:n]) for n in range(1, 5)]
    assert parts == ["red", " blue", "", ""]
    assert text.finish("red blue") == ""
    assert text.finish("red blue wet") == " wet"
