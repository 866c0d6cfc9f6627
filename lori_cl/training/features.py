"""What the base model makes of texts, before anything was learned: the features that tasks are told by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lori_cl.tasks import Example, pooled_states
from lori_cl.training.base_model import BaseModel
from lori_cl.training.evaluate import Question
from lori_cl.training.observer import Observer


def read_features(
    base: BaseModel, model: Any, question: Question, examples: Sequence[Example], observer: Observer
) -> Float[np.ndarray, "n d"]:
    """The mean last state of each example's prompt, with the adapter in `model` off; one row an example.

    An example is read as its task asks it, so an example of the training split in the words it is taught in.
    Raises: LoriError, if a state is not finite.
    """
    prompts = question.prompts(base.tokenizer, examples)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    rows: list[Float[np.ndarray, "B d"]] = []
    base.model.eval()
    with (
        model.disable_adapter(),
        torch.inference_mode(),
        observer.bar(f"reading {question.label}", len(order)) as advance,
    ):
        for start in range(0, len(order), question.batch_size):
            batch = [prompts[i] for i in order[start : start + question.batch_size]]
            rows.append(pooled_states(base.model, base.tokenizer.pad_token_id, batch).cpu().numpy())
            advance(len(batch))
    return np.concatenate(rows)[np.argsort(order)]
