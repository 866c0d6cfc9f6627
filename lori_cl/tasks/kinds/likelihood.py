"""Select the most likely of several texts after a prompt, with a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import MoEModelOutput

from lori_cl.model_traits import input_device
from lori_cl.spec.error_messages import shown
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.causal import require_numbers, room_for_prompt
from lori_cl.tasks.kinds.encoder_decoder import decoder_start
from lori_cl.tasks.kinds.padding import left_padded, positions_of, right_padded
from lori_cl.tasks.kinds.prompt_tokens import cut_prompt_ids
from lori_cl.tasks.kinds.special_tokens import word_ids

Normalise = Literal["none", "tokens", "bytes"]
"""The divisor of a log-likelihood."""


def most_likely(
    task: Any,
    learner: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    choices: Sequence[Sequence[str]],
    max_length: int,
) -> list[int]:
    """Return the position of each example's most likely choice; ties go to the first.

    A prompt that does not fit into `max_length` with its longest choice is truncated on the left.
    """
    tokens = [[word_ids(tokenizer, choice) for choice in texts] for texts in choices]
    prompts = [
        cut_prompt(task, tokenizer, e, max(map(len, ids)), max_length)
        for e, ids in zip(examples, tokens, strict=True)
    ]
    found = choice_scores(learner, tokenizer, prompts, tokens)
    require_numbers(task, torch.cat(found))
    return [
        int((scores / torch.tensor(_lengths(task.normalise, texts, ids))).argmax())
        for scores, texts, ids in zip(found, choices, tokens, strict=True)
    ]


def choice_scores(
    learner: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
) -> list[Float[Tensor, "choices"]]:
    """Return log p(choice | prompt) in nats for every choice of every prompt, in float32 on the CPU.

    The tokenizer says whether the model has an encoder for the prompt.
    """
    start, pad = decoder_start(tokenizer), tokenizer.pad_token_id
    if start:
        return decoder_log_likelihoods(learner, pad, start, prompts, choices)
    return log_likelihoods(learner, pad, prompts, choices)


def indistinguishable(tokens: Sequence[Sequence[int]], texts: Sequence[str]) -> str | None:
    """Return why a model cannot distinguish texts with these tokens; None if it can."""
    seen: dict[tuple[int, ...], str] = {}
    for ids, text in zip(map(tuple, tokens), texts, strict=True):
        if not ids:
            return f"{shown(text)} have no tokens in this model's tokenizer"
        if ids in seen:
            return f"{shown(seen[ids])} and {shown(text)} have the same tokens in this model's tokenizer"
        seen[ids] = text
    return None


def cut_prompt(task: Any, tokenizer: Any, example: Example, longest: int, max_length: int) -> list[int]:
    """Tokenize the prompt, truncated on the left to leave room for a choice of `longest` tokens."""
    return cut_prompt_ids(task, tokenizer, example, room_for_prompt(tokenizer, example, longest, max_length))


def answer_length(tokenizer: Any, tokens: int) -> int:
    """Return how much of `max_length` an answer of so many tokens takes from the prompt."""
    return 0 if decoder_start(tokenizer) else tokens


def _lengths(normalise: Normalise, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> list[int]:
    match normalise:
        case "none":
            return [1] * len(texts)
        case "tokens":
            return [len(tokens) for tokens in ids]
        case "bytes":
            return [len(text.encode()) for text in texts]


def log_likelihoods(
    learner: Any, pad: int, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]
) -> list[Float[Tensor, "choices"]]:
    """Return the same as `choice_scores`, for a causal language model.

    Every prompt is read once. All its choices then share its keys and values and are read in one batch.
    For a model with a recurrent state (Mamba, hybrid models), each choice is read with its whole prompt.
    """
    ids, mask = left_padded(prompts, pad, input_device(learner))  # (B, P)
    positions = positions_of(learner, mask)  # (B, P)
    output = learner(input_ids=ids, attention_mask=mask, use_cache=True, **positions)
    flat, owner = _flattened(choices)
    logits = output.logits[owner, -1:]  # (C, 1, V)
    if max(map(len, flat)) > 1:
        cache = getattr(output, "past_key_values", None)
        if not _can_be_shared(cache):
            del output, cache
            return _split(_read_without_cache(learner, pad, [prompts[i] for i in owner], flat), choices)
        logits = torch.cat(
            [logits, _logits_after_prompt(learner, pad, mask, cache, owner, flat)], dim=1
        )  # (C, L, V)
    return _split(_sums(logits, pad, flat), choices)


def decoder_log_likelihoods(
    learner: Any,
    pad: int,
    start: Sequence[int],
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[Sequence[int]]],
) -> list[Float[Tensor, "choices"]]:
    """Return the same as `choice_scores`, for an encoder-decoder model whose decoder begins with `start`.

    The encoder reads every prompt once. All its choices then share its states and are read in one batch.
    """
    ids, mask = right_padded(prompts, pad, input_device(learner))  # (B, P)
    begin = torch.tensor([list(start)] * len(prompts), device=input_device(learner))  # (B, S)
    output = learner(input_ids=ids, attention_mask=mask, decoder_input_ids=begin, use_cache=False)
    flat, owner = _flattened(choices)
    logits = output.logits[owner, -1:]  # (C, 1, V)
    if max(map(len, flat)) > 1:
        tokens, _ = right_padded(
            [[*start, *choice[:-1]] for choice in flat], pad, input_device(learner)
        )  # (C, S+L-1)
        # Models with experts read the fields of this class; others convert it.
        states = MoEModelOutput(output.encoder_last_hidden_state[owner])  # (C, P, d)
        after = learner(
            encoder_outputs=states, attention_mask=mask[owner], decoder_input_ids=tokens, use_cache=False
        )
        logits = after.logits[:, len(start) - 1 :]  # (C, L, V)
    return _split(_sums(logits, pad, flat), choices)


def _flattened(choices: Sequence[Sequence[Sequence[int]]]) -> tuple[list[Sequence[int]], list[int]]:
    """Return all choices, and the position of the prompt of each: both (C,)."""
    flat = [choice for of_prompt in choices for choice in of_prompt]
    return flat, [i for i, of_prompt in enumerate(choices) for _ in of_prompt]


def _can_be_shared(cache: Any) -> bool:
    """Whether the cache contains only keys and values of tokens, which several continuations can share."""
    layers = getattr(cache, "layers", None) or ()
    return len(layers) > 0 and all(
        hasattr(layer, "batch_select_indices") and not hasattr(layer, "conv_states") for layer in layers
    )


def _logits_after_prompt(
    learner: Any,
    pad: int,
    mask: Int64[Tensor, "B P"],
    cache: Any,
    owner: Sequence[int],
    choices: Sequence[Sequence[int]],
) -> Float[Tensor, "C L1 V"]:
    """Return the logits after all but the last token of each choice, with its cached prompt."""
    rows = torch.tensor(owner, device=input_device(learner))  # (C,)
    cache.batch_select_indices(rows)
    tokens, counts = right_padded(choices, pad, input_device(learner))  # (C, L)
    full_mask = torch.cat([mask[rows], counts[:, :-1]], dim=1)  # (C, P + L − 1)
    first = mask[rows].sum(dim=1, keepdim=True)  # (C, 1): the position after the prompt
    after = first + torch.arange(tokens.shape[1] - 1, device=input_device(learner))  # (C, L − 1)
    positions = {"position_ids": after} if positions_of(learner, mask) else {}
    output = learner(
        input_ids=tokens[:, :-1], attention_mask=full_mask, past_key_values=cache, use_cache=True, **positions
    )
    logits: Tensor = output.logits
    return logits


def _read_without_cache(
    learner: Any, pad: int, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]
) -> Float[Tensor, "C"]:
    """Compute the same without a cache. Padding is at the end, so it does not affect earlier states."""
    texts = [[*prompt, *choice] for prompt, choice in zip(prompts, choices, strict=True)]
    ids, mask = right_padded(texts, pad, input_device(learner))  # (C, P + L)
    logits = learner(input_ids=ids, attention_mask=mask).logits
    longest = max(map(len, choices))
    starts = torch.tensor([len(prompt) - 1 for prompt in prompts], device=logits.device)  # (C,)
    at = (starts.unsqueeze(1) + torch.arange(longest, device=logits.device)).clamp(max=logits.shape[1] - 1)
    rows = torch.arange(len(choices), device=logits.device).unsqueeze(1)
    return _sums(logits[rows, at], pad, choices)  # logits: (C, L, V)


def _sums(logits: Float[Tensor, "C L V"], pad: int, choices: Sequence[Sequence[int]]) -> Float[Tensor, "C"]:
    """Return log p of each choice from the logits of its tokens."""
    tokens, counts = right_padded(choices, pad, logits.device)  # (C, L)
    each = functional.log_softmax(logits.float(), dim=-1).gather(2, tokens.unsqueeze(2)).squeeze(2)  # (C, L)
    return (each * counts).sum(dim=1).cpu()


def _split(flat: Float[Tensor, "C"], choices: Sequence[Sequence[object]]) -> list[Float[Tensor, "choices"]]:
    """Group the values of all choices by prompt."""
    return list(torch.tensor_split(flat, [sum(map(len, choices[:i])) for i in range(1, len(choices))]))
