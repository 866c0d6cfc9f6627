"""Batches of examples of similar length, which contain less padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

MAX_PADDING = 0.1
"""Fraction of padding in random batches above which batches are grouped by length, if the kind allows it."""


def is_grouped(setting: bool | None, of_kind: bool, lengths: Sequence[int], batch_size: int) -> bool:
    """Whether batches are grouped by length: as `train.group_by_length` says, or if it saves padding.

    `of_kind` is the default of the task's kind.
    """
    if setting is not None:
        return setting
    return of_kind and padding(lengths, batch_size) > MAX_PADDING


def padding(lengths: Sequence[int], batch_size: int) -> float:
    """Return the fraction of padding among the tokens of random batches."""
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0)).tolist()
    batches = [[lengths[i] for i in batch] for batch in _split(order, batch_size)]
    return 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)


class LengthSampler(Sampler[int]):
    """Order the examples so that a batch has similar lengths, and the batches are in random order.

    The order depends only on the lengths, the seed and the epoch, so a resumed epoch continues in it.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        grouped = get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)
        batches = _split(grouped, self._batch_size)
        # Only the last batch may be smaller: another one would shift the limits of those after it.
        full = len(self._lengths) // self._batch_size
        order = [*torch.randperm(full, generator=generator).tolist(), *range(full, len(batches))]
        return (index for batch in order for index in batches[batch])


def _split(order: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
