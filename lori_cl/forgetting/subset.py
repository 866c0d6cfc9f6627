"""Random subsets of eval sets and training sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def random_subset(examples: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """Return `limit` random examples in their original order.

    They are random because the first examples of a sorted data set all have the same label.
    """
    if limit is None or limit >= len(examples):
        return list(examples)
    # NumPy guarantees a stable stream for raw bit generators, not for Generator.choice.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(examples)), kind="stable")
    return [examples[i] for i in sorted(order[:limit])]


def is_sampled(view: str, stage: int, own: int, last: int) -> bool:
    """Whether `eval.sample` applies to a score: only between a task's own stage and the run's last.

    `stage` counts from 1, and 0 is the base model; `own` and `last` are the task's own stage and the last.
    The whole set is scored elsewhere, so the sample changes neither acc, bwt nor learning_accuracy.
    """
    cached = view == "as_trained" and stage > own  # the score of the task's own stage
    return 0 < stage < last and stage != own and not cached
