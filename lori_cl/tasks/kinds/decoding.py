"""Decoding of answers: only the task's settings apply, up to one of the model's end tokens."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.cache_utils import DynamicLayer

from lori_cl.errors import ModelError
from lori_cl.spec.error_messages import shown
from lori_cl.tasks.kinds.encoder_decoder import decoder_start
from lori_cl.tasks.kinds.padding import left_padded, right_padded


class TaskGenerationConfig(GenerationConfig):  # type: ignore[misc]  # transformers ships no types
    """Generation settings that a model's own generation_config cannot change.

    `generate` fills every unset field from `model.generation_config`; this class ignores that update.
    """

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> Any:
        """Set fields, except from the model's own configuration."""
        # Only the update from the model's configuration allows custom entries.
        return {} if allow_custom_entries else super().update(defaults_only=defaults_only, **kwargs)


def generation_inputs(tokenizer: Any, prompts: Sequence[Sequence[int]], device: Any) -> dict[str, Tensor]:
    """Return the prompts, and the first tokens of a decoder if there is one, as arguments of `generate`."""
    pad, start = tokenizer.pad_token_id, decoder_start(tokenizer)
    ids, mask = (right_padded if start else left_padded)(prompts, pad, device)
    if not start:
        return {"input_ids": ids, "attention_mask": mask}
    begin = torch.tensor([start] * len(prompts), device=device)
    return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": begin}


def read_prompts(model: Any, inputs: Mapping[str, Tensor], tokenizer: Any) -> Callable[[], dict[str, Any]]:
    """Read the prompts once; return a function that gives the arguments of one `generate` over them.

    Calls of `generate` change the cache, so each gets a copy. A model whose cache cannot be shortened by a
    token (sliding windows, state spaces) reads the prompts in every call.
    """
    if "decoder_input_ids" in inputs:
        read = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        encoded = model.get_encoder()(**read, return_dict=True)
        return lambda: {**inputs, "encoder_outputs": copy.copy(encoded)}
    config = greedy_config(1, [], tokenizer)
    config.return_dict_in_generate = True
    cache = model.generate(**inputs, generation_config=config).past_key_values
    if not all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None])):
        return lambda: dict(inputs)
    cache.crop(-1)  # `generate` must read at least one token
    return lambda: {**inputs, "past_key_values": copy.deepcopy(cache)}


def greedy_config(max_new_tokens: int, ends: Sequence[int], tokenizer: Any) -> TaskGenerationConfig:
    """Return the settings of greedy decoding: at most `max_new_tokens`, no compilation."""
    return TaskGenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=list(ends),
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=next(iter(decoder_start(tokenizer)), None),
        use_cache=True,
        return_dict_in_generate=False,
        disable_compile=True,
    )


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token that ends an answer, sorted: the end tokens of the model's generation_config.json
    and config.json, and the tokenizer's eos token.

    Raises: ModelError, if a file sets something that is not a token id.
    """
    named = {tokenizer.eos_token_id}
    for source, config in _configs(model):
        named.update(_ids(source, getattr(config, "eos_token_id", None)))
    return sorted(token for token in named if token is not None and token >= 0)


def _configs(model: Any) -> Iterator[tuple[str, Any]]:
    yield "generation_config.json", model.generation_config
    yield "config.json", model.config
    yield "config.json", model.config.get_text_config(decoder=True)


def _ids(source: str, value: Any) -> list[int]:
    """Return the token ids of an `eos_token_id` field; empty if it is unset."""
    listed = value if isinstance(value, list | tuple) else [] if value is None else [value]
    for token in listed:
        if type(token) is not int:
            raise ModelError(
                f"the model's {source} sets eos_token_id to {shown(str(value))}; it must be a token id or a "
                "list of token ids"
            )
    return list(listed)


def answer_tokens(written: Sequence[int], ends: Collection[int]) -> list[int]:
    """Return the tokens before the first end token."""
    end = next((i for i, token in enumerate(written) if token in ends), len(written))
    return list(written[:end])
