"""Choices get the same scores with and without a shared cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from lori_cl.tasks.kinds import likelihood
from lori_cl.tasks.kinds.likelihood import log_likelihoods
from tests.families.configs import FAMILIES

PROMPTS = [[7, 8, 9], [10, 11, 12, 13, 14], [9]]
CHOICES = [[[15, 16], [17]], [[18], [19, 20, 21], [7, 7]], [[15, 16], [17]]]
HYBRID = ["lfm2", "mamba", "mamba2", "qwen3-next", "recurrent-gemma", "openai-gpt", "rwkv"]


def built(name: str) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[name].config())
    return model.eval()


def one_by_one(model: Any) -> list[torch.Tensor]:
    """The definition: every choice after its prompt in a separate forward pass."""
    found = []
    for prompt, of in zip(PROMPTS, CHOICES, strict=True):
        scores = []
        for choice in of:
            ids = torch.tensor([[*prompt, *choice]])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            each = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
            scores.append(each.gather(1, torch.tensor(choice).unsqueeze(1)).sum())
        found.append(torch.stack(scores))
    return found


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", *HYBRID])
@torch.inference_mode()
def test_batched_choice_scores_match_separate_forward_passes(name: str) -> None:
    model = built(name)
    prompts, choices = PROMPTS, CHOICES
    if name == "rwkv":  # RWKV has no attention mask, so its prompts are read one at a time
        prompts, choices = PROMPTS[1:2], CHOICES[1:2]
    found = log_likelihoods(model, 0, prompts, choices)
    expected = one_by_one(model)[1:2] if name == "rwkv" else one_by_one(model)
    for scores, right in zip(found, expected, strict=True):
        torch.testing.assert_close(scores, right, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_llama_scores_without_a_shared_cache_differ_by_rounding_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = built("llama")
    shared = log_likelihoods(model, 0, PROMPTS, CHOICES)
    monkeypatch.setattr(likelihood, "_can_be_shared", lambda _: False)
    unshared = log_likelihoods(model, 0, PROMPTS, CHOICES)
    for one, other in zip(shared, unshared, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_key_value_cache_is_shared_between_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a Llama's prompt was read again for every choice")

    monkeypatch.setattr(likelihood, "_read_without_cache", refuse)
    log_likelihoods(built("llama"), 0, PROMPTS, CHOICES)
