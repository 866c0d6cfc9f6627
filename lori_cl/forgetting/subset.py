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
