"""How a base model reads: how wide and how far, in which direction, and whether padding changes answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lori_cl.adapters import ordinary_ids, probing, read_ids, word_table
from lori_cl.errors import ModelError
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds import Architecture
from lori_cl.tasks.kinds.padding import left_padded, positions_of
from lori_cl.training.context_length import TableLookups, table_limits, text_config, usable_context

SHORT, LONG = 3, 7
"""Tokens of the two probe texts."""

ROUNDING = {torch.float32: 1e-4}
ROUNDING_HALF = 0.05
"""Fraction of a state's norm that rounding may change, in float32 and in 16 bits."""

NOTHING = 1e-6
"""A fraction below which a state did not change at all."""


@dataclass(frozen=True)
class BaseProbe:
    """What a few short texts show of a base model."""

    width: int
    """Of its hidden states."""
    context: int
    """Tokens that it can read."""
    ignores_padding: bool
    """Whether a text's states are the same when it is padded, so that texts can be read in batches."""


def probe_base(spec: ModelSpec, architecture: Architecture, model: Any, tokenizer: Any) -> BaseProbe:
    """Read a few short texts.

    Raises: ModelError, if the model cannot read a text alone, or reads in another direction than the
    architecture.
    """
    words = word_table(model)
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
        read_ids(model, [text])  # Reformer, for one, reads other lengths while it trains
    ending = alone[0, -1] if architecture == "causal-lm" else alone[0].mean(dim=0)
    return BaseProbe(
        width=states.shape[-1] if architecture == "encoder" else _width(model),
        context=usable_context(model, tokenizer, table_limits(short, SHORT, long, LONG)),
        ignores_padding=_change(ending, padded) <= _rounding(model),
    )


def _states(architecture: Architecture, output: Any) -> Tensor:
    """(B, T, d): an encoder's last states, or a language model's logits; float32."""
    name = "last_hidden_state" if architecture == "encoder" else "logits"
    states = getattr(output, name, None)
    if not isinstance(states, Tensor) or states.dim() != 3:
        raise ModelError(f"the model returns no {name} of a text: it is no {architecture}")
    return states.float()


def _check_direction(spec: ModelSpec, architecture: Architecture, model: Any, states: Tensor) -> None:
    """Make sure that an encoder's states depend on what follows them, and a language model's do not.

    `states` are those of two texts that differ in their last tokens alone.
    Raises: ModelError.
    """
    change, kind = _change(states[0, :-1], states[1, :-1]), model.config.model_type
    if architecture == "encoder" and change <= NOTHING:
        raise ModelError(
            f"model.path '{spec.path}' is a {kind} that reads from left to right only, which is no encoder; "
            "classification tasks need one, such as a BERT or a MiniLM (in config.json, is_decoder: false)"
        )
    if architecture == "causal-lm" and change > _rounding(model):
        raise ModelError(
            f"model.path '{spec.path}' is a {kind} whose predictions depend on the tokens that follow, which "
            "is no causal language model; name one, such as a Llama or a GPT-2"
        )


def _padded_states(
    architecture: Architecture, model: Any, tokenizer: Any, brief: Sequence[int], text: Sequence[int]
) -> Tensor:
    """What is read of the brief text beside a longer one, padded as the kinds of task pad: (d,)."""
    pad = tokenizer.pad_token_id
    if architecture == "encoder":
        gap = len(text) - len(brief)
        masks = [[1] * len(brief) + [0] * gap, [1] * len(text)]
        states = _states(architecture, read_ids(model, [[*brief, *[pad] * gap], text], masks))
        return states[0, : len(brief)].mean(dim=0)
    ids, mask = left_padded([brief, text], pad, model.device)
    output = read_ids(model, ids.tolist(), mask.tolist(), **positions_of(model, mask))
    return _states(architecture, output)[0, -1]


def _change(before: Tensor, after: Tensor) -> float:
    """The norm of the difference as a fraction of the norm before."""
    return float((before - after).norm() / before.norm().clamp(min=1e-30))


def _rounding(model: Any) -> float:
    return ROUNDING.get(model.dtype, ROUNDING_HALF)


def _width(model: Any) -> int:
    """The hidden size of a language model."""
    width = getattr(text_config(model.config), "hidden_size", None)
    return width if isinstance(width, int) else word_table(model).shape[1]
