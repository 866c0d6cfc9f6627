"""Choices are scored alike with a shared cache and without one."""

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
    """The definition: every choice behind its prompt in a forward pass of its own."""
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
def test_choices_score_what_they_score_in_passes_of_their_own(name: str) -> None:
    model = built(name)
    prompts, choices = PROMPTS, CHOICES
    if name == "rwkv":  # no mask: the product reads its prompts one at a time
        prompts, choices = PROMPTS[1:2], CHOICES[1:2]
    found = log_likelihoods(model, 0, prompts, choices)
    wanted = one_by_one(model)[1:2] if name == "rwkv" else one_by_one(model)
    for scores, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(scores, right, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_without_a_shared_cache_a_llamas_scores_are_the_same_but_for_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = built("llama")
    shared = log_likelihoods(model, 0, PROMPTS, CHOICES)
    monkeypatch.setattr(likelihood, "_can_be_shared", lambda _: False)
    whole = log_likelihoods(model, 0, PROMPTS, CHOICES)
    for one, other in zip(shared, whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_cache_of_keys_and_values_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a Llama's prompt was read again for every choice")

    monkeypatch.setattr(likelihood, "_read_whole", refuse)
    log_likelihoods(built("llama"), 0, PROMPTS, CHOICES)
