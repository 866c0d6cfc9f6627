"""What is read of an example before it is answered, and the one vector that a model makes of it."""

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
def chatting(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def first_read(model: nn.Module, call: Callable[[], object]) -> list[int]:
    """The first tokens that the model is given while something is called."""
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
def test_what_is_asked_is_what_the_model_is_fed(
    task: TaskSpec, max_length: int, chatting: PreTrainedTokenizerFast
) -> None:
    kind = kind_of(task)
    model: Any = bert() if kind.architecture == "encoder" else llama()
    learner = kind.learner(model, kind.head(task, 16, seed=0))
    fed = first_read(model, lambda: kind.answers(task, learner, chatting, [LONG], max_length))
    assert kind.prompt_tokens(task, chatting, LONG, max_length) == fed
    assert 3 <= len(fed) <= max_length


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return request.param()


def test_the_vector_is_the_mean_of_the_last_states(model: PreTrainedModel) -> None:
    ids = [5, 9, 12]
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    assert pooled_states(model, 0, [ids])[0] == pytest.approx(states[0].mean(dim=0), abs=1e-6)


def test_a_vector_does_not_depend_on_what_else_is_in_the_batch(model: PreTrainedModel) -> None:
    prompts = [[5], [9, 12, 7], [6, 6, 8, 10, 11, 4, 9]]
    together = pooled_states(model, 0, prompts)
    for row, prompt in zip(together, prompts, strict=True):
        assert row == pytest.approx(pooled_states(model, 0, [prompt])[0], abs=1e-5)


def test_a_model_in_half_precision_is_averaged_in_single() -> None:
    found = pooled_states(llama().bfloat16(), 0, [list(range(4, 20))])
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())  # it would be if it had been added up in bfloat16


def test_states_that_are_no_numbers_are_an_error() -> None:
    broken = bert()
    with torch.no_grad():
        broken.embeddings.word_embeddings.weight[WORDS.index("a")] = float("inf")
    with pytest.raises(LoriError, match="hidden states are not finite"):
        pooled_states(broken, 0, [word_tokenizer()("a b")["input_ids"]])
