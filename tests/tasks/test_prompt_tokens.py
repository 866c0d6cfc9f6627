"""The tokens that a model reads before it answers, and the prompt vector computed from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lori_cl.errors import LoriError
from lori_cl.spec import TaskSpec
from lori_cl.tasks import Example, kind_of, pooled_states

from .task_files import classification, generation, multiple_choice
from .tiny_models import WORDS, bert, gpt2, llama, word_tokenizer

LONG = Example(0, "a b c d e f g h a b c d", "negative", ("bad poor", "good"))
TEMPLATE = "{{ '[BOS] ' }}{% for m in messages %}{{ m['content'] }} {% endfor %}fine"
TASKS = {
    "classification": classification(),
    "label likelihood": classification(prompt="{{ text }}", label_words=[" bad poor awful", " good"]),
    "multiple choice": multiple_choice(),
    "generation": generation(max_new_tokens=2),
    "chat": generation(max_new_tokens=2, chat=True),
}
MODELS: dict[str, Callable[[], Any]] = {"bert": bert, "llama": llama, "gpt2": gpt2}


@pytest.fixture
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def first_read(model: nn.Module, call: Callable[[], object]) -> list[int]:
    """Return the tokens of the model's first forward pass during a call."""
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    call()
    hook.remove()
    return seen[0][0].tolist()


@torch.no_grad()
@pytest.mark.parametrize("max_length", [6, 32])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_prompt_tokens_are_the_tokens_that_the_model_reads(
    task: TaskSpec, max_length: int, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    kind = kind_of(task)
    model: Any = bert() if kind.architecture == "encoder" else llama()
    learner = kind.learner(model, kind.head(task, 16, seed=0))
    fed = first_read(model, lambda: kind.answers(task, learner, chat_tokenizer, [LONG], max_length))
    assert kind.prompt_tokens(task, chat_tokenizer, LONG, max_length) == fed
    assert 3 <= len(fed) <= max_length


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return request.param()


def test_prompt_vector_is_the_mean_of_the_last_hidden_states(model: PreTrainedModel) -> None:
    ids = [5, 9, 12]
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    assert pooled_states(model, 0, [ids])[0] == pytest.approx(states[0].mean(dim=0), abs=1e-6)


def test_prompt_vector_does_not_depend_on_the_batch(model: PreTrainedModel) -> None:
    prompts = [[5], [9, 12, 7], [6, 6, 8, 10, 11, 4, 9]]
    batched = pooled_states(model, 0, prompts)
    for row, prompt in zip(batched, prompts, strict=True):
        assert row == pytest.approx(pooled_states(model, 0, [prompt])[0], abs=1e-5)


def test_half_precision_states_are_averaged_in_float32() -> None:
    found = pooled_states(llama().bfloat16(), 0, [list(range(4, 20))])
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())  # the value of a sum in bfloat16


def test_nan_hidden_states_raise_an_error() -> None:
    broken = bert()
    with torch.no_grad():
        broken.embeddings.word_embeddings.weight[WORDS.index("a")] = float("inf")
    with pytest.raises(LoriError, match="hidden states are not finite"):
        pooled_states(broken, 0, [word_tokenizer()("a b")["input_ids"]])
