"""The model for one batch: an adapter for each row, and a callback for each generated token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn
from transformers import StoppingCriteria

from lori_cl.model_traits import input_device

OnStep = Callable[[Sequence[Sequence[int]]], Sequence[bool]]
"""Called with the tokens that each row has generated so far; returns which rows end here."""


class BatchModel(nn.Module):
    """The model with one adapter per row of the next batch (PEFT's mixed batches).

    `names` are the adapters of the rows; None uses the active adapter for all rows.
    """

    def __init__(self, model: Any, names: Sequence[str] | None, on_step: OnStep | None = None) -> None:
        super().__init__()
        self._model = [model]  # in a list, so that it is not a submodule of this wrapper
        self._names = None if names is None else list(names)
        self._on_step = on_step

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return input_device(self._model[0])

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._model[0].config

    @property
    def generation_config(self) -> Any:
        """The model's generation configuration, with its end tokens."""
        return self._model[0].generation_config

    def forward(self, **inputs: Any) -> Any:
        """Run one forward pass. If the choices of a prompt are separate rows, all rows belong to one task."""
        if self._names is None:
            return self._model[0](**inputs)
        # An encoder that has read the prompts before is not called again with their ids.
        rows = inputs["input_ids" if "input_ids" in inputs else "decoder_input_ids"].shape[0]
        same = len(set(self._names)) == 1
        assert same or rows == len(self._names), "rows of several tasks were multiplied"
        return self._model[0](**inputs, adapter_names=self._names[:1] * rows if same else self._names)

    def get_base_model(self) -> Any:
        """Return the model without its adapters, under PEFT's method name."""
        return self._model[0].get_base_model()

    def generate(self, *, stopping_criteria: Sequence[StoppingCriteria] = (), **inputs: Any) -> Any:
        """Generate with one adapter per row."""
        criteria = [*stopping_criteria]
        if self._on_step is not None:
            begin = inputs.get("decoder_input_ids", inputs["input_ids"])  # the answer continues it
            criteria.append(_EveryStep(self._on_step, begin.shape[1]))
        names = {} if self._names is None else {"adapter_names": self._names}
        return self._model[0].generate(**inputs, **names, stopping_criteria=criteria)


class _EveryStep(StoppingCriteria):  # type: ignore[misc]  # transformers ships no types
    """Call a function after each generated token."""

    def __init__(self, on_step: OnStep, begin: int) -> None:
        self._on_step = on_step
        self._begin = begin

    def __call__(self, input_ids: Int64[Tensor, "B T"], *_: Any, **__: Any) -> Bool[Tensor, "B"]:
        """Return which rows end."""
        return torch.tensor(self._on_step(input_ids[:, self._begin :].tolist()), device=input_ids.device)
