"""The calibration batches of a stage in a training loop of your own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lori_cl.errors import InputError
from lori_cl.model_traits import input_device

Batches = Iterable[Mapping[str, Tensor]]
"""Batches as the model's forward takes them, labels included, so that its output has a loss."""


def no_examples(task: str) -> Sequence[dict[str, Any]]:
    """Refuse to replay examples: a loop of one's own passes none."""
    raise InputError(f"examples of '{task}' are not known in a training loop of your own")


class Calibration:
    """The calibration batches of a stage, as the method asks for them."""

    def __init__(self, model: Any, batches: Batches | None, task: str, lr: float | None) -> None:
        self._model = model
        self._batches = batches
        self._task = task
        self._lr = lr

    @property
    def n(self) -> int:
        """Examples."""
        if self._batches is None:
            return 0
        data = getattr(self._batches, "dataset", None)
        return len(data) if data is not None else sum(_examples(batch) for batch in self._batches)

    def train(self, epochs: float | None, lr: float) -> None:
        """Train the open cells for some epochs, one where None, by AdamW; `lr` is the method's choice."""
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self._lr or lr, weight_decay=0.0)
        self._model.train()
        for loss in self.losses(round((epochs or 1.0) * self.n)):
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        self._model.eval()

    def losses(self, examples: int) -> Iterator[Tensor]:
        """The loss of batch after batch, over at least so many examples; the batches repeat."""
        if self._batches is None:
            raise InputError(
                f"stage '{self._task}': pass calibration=batches, such as a DataLoader; only "
                "strategy='random' without projection='null-space' needs none"
            )
        seen = 0
        while seen < examples:
            before = seen
            for batch in self._batches:
                if seen >= examples:
                    return
                seen += _examples(batch)
                device = input_device(self._model)
                moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
                loss = self._model(**moved)["loss"]
                if loss is None:
                    raise InputError(f"stage '{self._task}': a calibration batch has no labels, so no loss")
                yield loss
            if seen == before:
                raise InputError(
                    f"stage '{self._task}': calibration has no batches, or can be read only once"
                )


def _examples(batch: Mapping[str, Tensor]) -> int:
    return len(next(iter(batch.values())))
