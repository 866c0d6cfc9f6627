"""A score does not depend on how many examples are asked at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lori_cl.spec import TASK_SPECS, ModelSpec
from lori_cl.tasks import Example
from lori_cl.training import SilentObserver
from lori_cl.training.base_model import load_base
from lori_cl.training.evaluate import Question, measure
from tests.tiny import WORDS

WRITING = {"kind": "generation", "prompt": "{{ q }}", "answer": "{{ a }}", "max_new_tokens": 5}
KINDS = {
    "greedy": WRITING,
    "sampled": {**WRITING, "temperature": 1.0, "samples": 2},
    "stopped": {**WRITING, "stop": ["is"]},
    "choices": {"kind": "multiple_choice", "prompt": "{{ q }}", "choices": "c", "answer": "0"},
    "labels": {"kind": "classification", "prompt": "{{ q }}", "labels": ["red", "blue"]},
}


@pytest.mark.parametrize("name", KINDS)
def test_batch_1_and_batch_8_give_the_same_answers(name: str, tiny_causal_lm: Path) -> None:
    declared = {"name": "t", "source": {"local": "data"}, **KINDS[name]}
    spec = TASK_SPECS[str(declared["kind"])].model_validate(declared)
    base = load_base(ModelSpec(path=str(tiny_causal_lm)), "causal-lm")
    torch.manual_seed(0)
    for parameter in base.model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.5  # so that the answers differ
    examples = [
        Example(i, " ".join(WORDS[i % 7 : i % 7 + 1 + i % 4]), "red", ("red wet", "blue dry"))
        for i in range(12)
    ]

    def asked(batch_size: int) -> list[list[str]]:
        question = Question("t", spec, examples, "digest", batch_size, max_length=16)
        return list(measure(question, base.model, base.tokenizer, SilentObserver(), "asking").answers)

    one_by_one = asked(1)
    assert asked(8) == one_by_one
    assert len({tuple(answers) for answers in one_by_one}) > 1
