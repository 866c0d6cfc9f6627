"""Router features: the states of the base model, without the adapter, for a task's texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lori_cl.models.base_model import BaseModel
from lori_cl.runtime import Progress
from lori_cl.runtime.memory import memory_errors
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import Example, pooled_states


def read_features(
    base: BaseModel, model: Any, eval_task: EvalTask, examples: Sequence[Example], progress: Progress
) -> Float[np.ndarray, "n d"]:
    """Return the mean last state of each example's prompt, with the adapter in `model` off; one row each.

    Examples of both splits are rendered with their task's prompt.
    Raises: LoriError, if a state is not finite.
    """
    prompts = eval_task.prompts(base.tokenizer, examples)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    rows: list[Float[np.ndarray, "B d"]] = []
    base.model.eval()
    with (
        memory_errors(f"reading {eval_task.label}"),
        model.disable_adapter(),
        torch.no_grad(),
        progress.bar(f"reading {eval_task.label}", len(order)) as advance,
    ):
        for start in range(0, len(order), eval_task.batch_size):
            batch = [prompts[i] for i in order[start : start + eval_task.batch_size]]
            rows.append(pooled_states(base.model, base.tokenizer.pad_token_id, batch).cpu().numpy())
            advance(len(batch))
    return np.concatenate(rows)[np.argsort(order)]
