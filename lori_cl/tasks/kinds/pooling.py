"""What a model makes of a text, in one vector: the mean of its last hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lori_cl.errors import LoriError
from lori_cl.tasks.kinds.padding import right_padded


def mean_pooled(
    model: Any, input_ids: Int64[Tensor, "B T"], attention_mask: Int64[Tensor, "B T"]
) -> Float[Tensor, "B d"]:
    """The mean of the last hidden states over the tokens that are no padding, in float32: bfloat16 counts no
    further than 256."""
    states = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()  # (B, T, d)
    weights = attention_mask.unsqueeze(-1).float()  # (B, T, 1)
    pooled: Tensor = (states * weights).sum(dim=1) / weights.sum(dim=1)
    return pooled


@torch.inference_mode()
def pooled_states(model: Any, pad: int, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "B d"]:
    """The mean over each prompt's own tokens, in float32, of a transformers encoder or language model.

    Padding stands at the end, where neither attention nor positions notice it, so that a vector depends on
    its batch by rounding alone.
    Raises: LoriError, if a state is not finite.
    """
    ids, mask = right_padded(prompts, pad, model.device)  # (B, T)
    # Of a language model, the part beneath the words' logits; an encoder is its own.
    pooled = mean_pooled(model.base_model, ids, mask)
    if not pooled.isfinite().all():
        raise LoriError(
            f"the base model's hidden states are not finite in {model.dtype}; "
            "hold the weights in another model.dtype"
        )
    return pooled
