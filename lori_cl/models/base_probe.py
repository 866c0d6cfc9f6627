"""Probe a base model: hidden size, context length, attention direction and effect of padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lori_cl.adapters import ordinary_ids, probing, read_ids, token_embeddings
from lori_cl.errors import ModelError
from lori_cl.model_traits import input_device
from lori_cl.models.context_length import TableLookups, table_limits, text_config, usable_context
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture
from lori_cl.tasks.kinds.padding import left_padded, positions_of

SHORT, LONG = 3, 7
"""Tokens of the two probe texts."""

ROUNDING = {torch.float32: 1e-4}
ROUNDING_HALF = 0.05
"""Relative change of a state's norm that rounding may cause, in float32 and in 16-bit types."""

UNCHANGED = 1e-6
"""A state with a smaller relative change counts as unchanged."""


@dataclass(frozen=True)
class BaseProbe:
    """Properties of a base model, measured on a few short texts."""

    width: int
    """Size of its hidden states."""
    context: int
    """Maximum number of tokens it can read."""
    ignores_padding: bool
    """Whether padding leaves a text's states unchanged, so that texts can be read in batches."""


def probe_base(spec: ModelSpec, architecture: Architecture, model: Any, tokenizer: Any) -> BaseProbe:
    """Measure a base model on a few short texts.

    Raises: ModelError, if the model cannot read a single text, or its attention direction does not match the
    architecture.
    """
    token_embeddings(model)  # raises an error if it has none
    words = model.get_input_embeddings()
    short, long = TableLookups(words), TableLookups(words)
    ids = ordinary_ids(model, LONG + 1)
    text, other, brief = ids[:LONG], [*ids[: LONG - 1], ids[LONG]], ids[:SHORT]
    with probing(model):
        with long:
            states = _states(architecture, read_ids(model, [text, other]))  # (2, LONG, d)
        with short:
            alone = _states(architecture, read_ids(model, [brief]))  # (1, SHORT, d)
        _check_direction(spec, architecture, model, states)
        padded = _padded_states(architecture, model, tokenizer, brief, text)
    with probing(model, training=True):
        read_ids(model, [text])  # some models, such as Reformer, restrict lengths in training mode only
    ending = alone[0, -1] if architecture == "causal-lm" else alone[0].mean(dim=0)
    return BaseProbe(
        width=states.shape[-1] if architecture == "encoder" else _width(model),
        context=usable_context(model, tokenizer, table_limits(short, SHORT, long, LONG)),
        ignores_padding=_change(ending, padded) <= _rounding(model),
    )


def _states(architecture: Architecture, output: Any) -> Tensor:
    """Return an encoder's last hidden states, or a language model's logits: (B, T, d), float32.

    An encoder-decoder model has read the same text with both parts.
    """
    name = "last_hidden_state" if architecture == "encoder" else "logits"
    states = getattr(output, name, None)
    if not isinstance(states, Tensor) or states.dim() != 3:
        raise ModelError(f"the model returns no {name}, so it is not of type {architecture}")
    return states.float()


def _check_direction(spec: ModelSpec, architecture: Architecture, model: Any, states: Tensor) -> None:
    """Check that an encoder's states depend on later tokens and a language model's do not.

    `states` belong to two texts that differ only in their last tokens.
    Raises: ModelError.
    """
    change, kind = _change(states[0, :-1], states[1, :-1]), model.config.model_type
    if architecture == "encoder" and change <= UNCHANGED:
        raise ModelError(
            f"model.path '{spec.path}' is a {kind} that reads only from left to right, so it is not an "
            "encoder; classification tasks need an encoder, such as BERT or MiniLM "
            "(in config.json, is_decoder: false)"
        )
    if architecture == "causal-lm" and change > _rounding(model):
        raise ModelError(
            f"model.path '{spec.path}' is a {kind} whose predictions depend on later tokens, so it is not a "
            "causal language model; use one, such as Llama or GPT-2"
        )


def _padded_states(
    architecture: Architecture, model: Any, tokenizer: Any, brief: Sequence[int], text: Sequence[int]
) -> Tensor:
    """Return the brief text's state when it is padded to a longer text as task kinds pad: (d,)."""
    pad = tokenizer.pad_token_id
    if architecture != "causal-lm":
        gap = len(text) - len(brief)
        masks = [[1] * len(brief) + [0] * gap, [1] * len(text)]
        states = _states(architecture, read_ids(model, [[*brief, *[pad] * gap], text], masks))
        return states[0, : len(brief)].mean(dim=0)
    ids, mask = left_padded([brief, text], pad, input_device(model))
    output = read_ids(model, ids.tolist(), mask.tolist(), **positions_of(model, mask))
    return _states(architecture, output)[0, -1]


def _change(before: Tensor, after: Tensor) -> float:
    """Return the norm of the difference relative to the norm before."""
    return float((before - after).norm() / before.norm().clamp(min=1e-30))


def _rounding(model: Any) -> float:
    return ROUNDING.get(model.dtype, ROUNDING_HALF)


def _width(model: Any) -> int:
    """Return a language model's hidden size."""
    width = getattr(text_config(model.config), "hidden_size", None)
    return width if isinstance(width, int) else token_embeddings(model).shape[1]
