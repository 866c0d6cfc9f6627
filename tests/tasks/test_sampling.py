from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lori_cl.tasks import KINDS, Example
from lori_cl.tasks.kinds.sampling import SeededSampling

from .task_files import generation
from .tiny_models import gpt2, llama

KIND = KINDS["generation"]
TASK = generation(max_new_tokens=6, temperature=1.0, samples=3)
EXAMPLES = [Example(i, prompt, "good") for i, prompt in enumerate(["a b c d e f", "g", "h a", "b c d"])]


@pytest.fixture(scope="module", params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return request.param()


def test_samples_do_not_depend_on_batch_or_order(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    batched = KIND.answers(TASK, model, tokenizer, EXAMPLES, 32, sample=1)
    alone = [KIND.answers(TASK, model, tokenizer, [e], 32, sample=1)[0] for e in EXAMPLES]
    backwards = KIND.answers(TASK, model, tokenizer, EXAMPLES[::-1], 32, sample=1)
    assert batched == alone == backwards[::-1]


def test_samples_differ_from_each_other_and_are_reproducible(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    first, second = (KIND.answers(TASK, model, tokenizer, EXAMPLES, 32, sample=s) for s in (0, 1))
    torch.manual_seed(7)
    assert KIND.answers(TASK, model, tokenizer, EXAMPLES, 32, sample=0) == first
    assert first != second


def test_tasks_seed_changes_the_samples(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    other = generation(max_new_tokens=6, temperature=1.0, samples=3, seed=1)
    found = [KIND.answers(task, model, tokenizer, EXAMPLES, 32) for task in (TASK, other)]
    assert found[0] != found[1]


def test_low_temperature_is_nearly_greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    cold = generation(max_new_tokens=6, temperature=1e-6)
    greedy = generation(max_new_tokens=6)
    found = [KIND.answers(task, model, tokenizer, EXAMPLES, 32) for task in (cold, greedy)]
    assert found[0] == found[1]


def test_token_frequencies_match_the_softmax_probabilities() -> None:
    logits, temperature, draws = torch.tensor([0.0, 1.0, 2.0]), 0.7, 4000
    sampling = SeededSampling(temperature, range(draws))
    found = sampling(torch.zeros(draws, 1, dtype=torch.long), logits.repeat(draws, 1)).argmax(dim=1)
    often = np.bincount(found.numpy(), minlength=3) / draws
    expected = (logits / temperature).softmax(dim=0).numpy()
    assert np.abs(often - expected).max() < 4 * np.sqrt(0.25 / draws)


def test_several_samples_need_a_temperature() -> None:
    with pytest.raises(ValidationError, match="samples is 3, but at temperature 0 all samples are the same"):
        generation(samples=3)
