from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from lori_cl.tasks import KINDS, Example
from lori_cl.tasks.kinds.sampling import SeededSampling

from .task_files import generation
from .tiny_models import WORDS, gpt2, llama

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


def mistral() -> PreTrainedModel:
    """A model with a sliding window, whose cache cannot be shortened."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    window = MistralConfig(vocab_size=len(WORDS), num_key_value_heads=2, sliding_window=4, **sizes)
    return MistralForCausalLM(window).eval()


@pytest.mark.parametrize("make", [llama, gpt2, mistral])
def test_all_samples_of_a_batch_equal_those_that_are_drawn_one_by_one(
    make: Callable[[], PreTrainedModel], tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make()
    one_by_one = [KIND.answers(TASK, model, tokenizer, EXAMPLES, 32, sample=s) for s in range(3)]
    together = KIND.answer_samples(TASK, model, tokenizer, EXAMPLES, 32)
    assert [list(samples) for samples in zip(*together, strict=True)] == one_by_one


def test_prompts_are_read_once_for_all_samples(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    read: list[int] = []
    ids = {"llama": "model.embed_tokens", "gpt2": "transformer.wte"}[model.config.model_type]
    hook = model.get_submodule(ids).register_forward_hook(
        lambda _, inputs, __: read.append(inputs[0].shape[1])
    )
    KIND.answer_samples(TASK, model, tokenizer, EXAMPLES, 32)
    hook.remove()
    assert [length for length in read if length > 1] == [6]
