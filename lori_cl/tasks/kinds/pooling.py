"""Text vectors: the mean of a model's last hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lori_cl.errors import LoriError
from lori_cl.model_traits import input_device, is_encoder_decoder
from lori_cl.tasks.kinds.padding import right_padded


def mean_pooled(
    model: Any, input_ids: Int64[Tensor, "B T"], attention_mask: Int64[Tensor, "B T"]
) -> Float[Tensor, "B d"]:
    """Return the mean of the last hidden states over all tokens except padding. The sum is in float32,
    because bfloat16 counts exactly only to 256."""
    states = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()  # (B, T, d)
    weights = attention_mask.unsqueeze(-1).float()  # (B, T, 1)
    pooled: Tensor = (states * weights).sum(dim=1) / weights.sum(dim=1)
    return pooled


@torch.no_grad()
def pooled_states(model: Any, pad: int, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "B d"]:
    """Return the mean state over each prompt's tokens, in float32, for an encoder or a language model.

    The states of an encoder-decoder model are those of its encoder.

    Padding is at the end, where it affects neither attention nor positions, so a vector depends on its batch
    only by rounding.
    Raises: LoriError, if a state is not finite.
    """
    ids, mask = right_padded(prompts, pad, input_device(model))  # (B, T)
    # base_model of a language model excludes the LM head; base_model of an encoder is the encoder itself.
    reader = model.get_encoder() if is_encoder_decoder(model.config) else model.base_model
    pooled = mean_pooled(reader, ids, mask)
    if not pooled.isfinite().all():
        raise LoriError(
            f"the base model's hidden states are not finite in {model.dtype}; use another model.dtype"
        )
    return pooled
