"""Which examples of an eval set or a training set a limit keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def drawn(examples: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """So many examples at random, in their old order: the first of a sorted data set are all of one label."""
    if limit is None or limit >= len(examples):
        return list(examples)
    # Raw words of a bit generator are stable by NumPy's policy; Generator.choice is not.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(examples)), kind="stable")
    return [examples[i] for i in sorted(order[:limit])]
