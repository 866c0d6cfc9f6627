"""Which of a few texts a causal language model finds likeliest after a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lori_cl.spec.complaints import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.causal import require_numbers, room_for_prompt
from lori_cl.tasks.kinds.padding import left_padded
from lori_cl.tasks.kinds.prompt_tokens import cut_prompt_ids, word_ids

Normalise = Literal["none", "tokens", "bytes"]
"""What a log-likelihood is divided by."""


def likeliest(
    task: Any,
    learner: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    choices: Sequence[Sequence[str]],
    max_length: int,
) -> list[int]:
    """The position of each example's likeliest choice; ties go to the first.

    A prompt that does not fit into `max_length` with its longest choice is cut from the left.
    """
    tokens = [[word_ids(tokenizer, choice) for choice in of] for of in choices]
    prompts = [
        cut_prompt(task, tokenizer, e, max(map(len, of)), max_length)
        for e, of in zip(examples, tokens, strict=True)
    ]
    found = log_likelihoods(learner, tokenizer.pad_token_id, prompts, tokens)
    require_numbers(task, torch.cat(found))
    return [
        int((scores / torch.tensor(_lengths(task.normalise, texts, ids))).argmax())
        for scores, texts, ids in zip(found, choices, tokens, strict=True)
    ]


def indistinct(tokens: Sequence[Sequence[int]], texts: Sequence[str]) -> str | None:
    """Why a model cannot choose among texts with these tokens; None where it can."""
    seen: dict[tuple[int, ...], str] = {}
    for ids, text in zip(map(tuple, tokens), texts, strict=True):
        if not ids:
            return f"{shown(text)} have no tokens in this model's tokenizer"
        if ids in seen:
            return f"{shown(seen[ids])} and {shown(text)} have the same tokens in this model's tokenizer"
        seen[ids] = text
    return None


def cut_prompt(task: Any, tokenizer: Any, example: Example, longest: int, max_length: int) -> list[int]:
    """The prompt, cut from the left where it does not fit with a choice of so many tokens."""
    return cut_prompt_ids(task, tokenizer, example, room_for_prompt(example, longest, max_length))


def _lengths(normalise: Normalise, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> list[int]:
    match normalise:
        case "none":
            return [1] * len(texts)
        case "tokens":
            return [len(of) for of in ids]
        case "bytes":
            return [len(text.encode()) for text in texts]


def log_likelihoods(
    learner: Any, pad: int, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]
) -> list[Float[Tensor, "choices"]]:
    """log p(choice | prompt) in nats, of every choice of every prompt, in float32 on the CPU.

    Every prompt is read once; its keys and values are then shared by its choices, which are read together.
    """
    ids, mask = left_padded(prompts, pad, learner.device)  # (B, P)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)  # (B, P)
    read = learner(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    owner = torch.tensor([i for i, of in enumerate(choices) for _ in of], device=learner.device)  # (C,)
    flat = [choice for of in choices for choice in of]
    longest = max(map(len, flat))
    tokens = torch.tensor([[*c, *[pad] * (longest - len(c))] for c in flat], device=learner.device)  # (C, L)
    counts = torch.tensor([[1] * len(c) + [0] * (longest - len(c)) for c in flat], device=learner.device)
    logits = read.logits[owner, -1:]  # (C, 1, V)
    if longest > 1:
        cache = read.past_key_values
        cache.batch_select_indices(owner)
        after = positions[owner, -1:] + 1 + torch.arange(longest - 1, device=learner.device)  # (C, L−1)
        more = learner(
            input_ids=tokens[:, :-1],
            attention_mask=torch.cat([mask[owner], counts[:, :-1]], dim=1),
            position_ids=after,
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([logits, more.logits], dim=1)  # (C, L, V)
    each = functional.log_softmax(logits.float(), dim=-1).gather(2, tokens.unsqueeze(2)).squeeze(2)  # (C, L)
    whole = (each * counts).sum(dim=1).cpu()  # (C,)
    return list(torch.tensor_split(whole, [sum(map(len, choices[:i])) for i in range(1, len(choices))]))
