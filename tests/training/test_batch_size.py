"""A score does not depend on the batch size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lori_cl.evaluation.measure import measure
from lori_cl.models.base_model import load_base
from lori_cl.runtime import SilentProgress
from lori_cl.spec import TASK_SPECS, ModelSpec
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import Example
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
        parameter.data = torch.randn_like(parameter) * 0.5  # makes the answers differ
    examples = [
        Example(i, " ".join(WORDS[i % 7 : i % 7 + 1 + i % 4]), "red", ("red wet", "blue dry"))
        for i in range(12)
    ]

    def predict(batch_size: int) -> list[list[str]]:
        eval_task = EvalTask("t", spec, examples, "digest", batch_size, max_length=16)
        return list(measure(eval_task, base.model, base.tokenizer, SilentProgress(), "asking").answers)

    one_by_one = predict(1)
    assert predict(8) == one_by_one
    assert len({tuple(answers) for answers in one_by_one}) > 1
