"""Sampling with a random stream per example, independent of batches and order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import LogitsProcessor


class SeededSampling(LogitsProcessor):  # type: ignore[misc]  # transformers ships no types
    """Add Gumbel noise to the logits of each row, so that the most likely token is a sample.

    argmax(logits / T + Gumbel) is distributed as softmax(logits / T): the Gumbel-max trick (Gumbel 1954).
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self._temperature = temperature
        # NumPy guarantees a stable stream for a bit generator's raw words, but not for Generator.gumbel.
        self._rows = [np.random.PCG64(seed) for seed in seeds]

    def __call__(self, input_ids: Int64[Tensor, "B T"], scores: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Add new noise to every row."""
        drawn = np.stack([_gumbel(row, scores.shape[1]) for row in self._rows])  # (B, V)
        return scores / self._temperature + torch.from_numpy(drawn).to(scores)


def _gumbel(row: np.random.PCG64, n: int) -> Float[np.ndarray, "n"]:
    uniform = ((row.random_raw(n) >> np.uint64(11)) + 0.5) * 2.0**-53  # in (0, 1), 53 bits
    noise: Float[np.ndarray, "n"] = -np.log(-np.log(uniform))
    return noise
