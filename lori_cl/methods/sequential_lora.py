"""The honest baseline: one plain PEFT LoRA, trained on task after task, every stage over the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lori_cl.adapters import ADAPTER_NAME, lora_layers, lora_model, tensors_digest
from lori_cl.errors import ArtifactDamaged
from lori_cl.methods.base import Learned, Method, Outcome, StageContext, Tensors
from lori_cl.spec import CurriculumSpec

A = "lora_A/"
"""What stands before a site's name where a stage keeps its A."""


class SequentialLoRA(Method):
    """A and B both train, all of them, at every stage; nothing is kept apart."""

    overwrites = True
    default_lr = 5e-5
    """The best final average without a task id, by `benchmarks/tune_lr.py`; docs/real-run.md has the grid."""

    def __init__(self, curriculum: CurriculumSpec) -> None:
        super().__init__(curriculum)
        self._model: Any
        self._start: Tensors

    def attach(self, base: nn.Module, seed: int, sites: Sequence[str] | None = None) -> Any:
        """PEFT's own LoRA in PEFT's own initialisation, drawn from the seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._model = lora_model(base, self.curriculum.adapter, sites)
        self._start = self._copied()
        return self._model

    def sites_of(self, tensors: Tensors) -> Sequence[str]:
        """Every site has an A."""
        return [key.removeprefix(A) for key in tensors if key.startswith(A)]

    def projection(self) -> None:
        """None: its A trains."""

    def check_room(self, past: Sequence[Learned], tasks: Sequence[str]) -> None:
        """There is always room: every stage writes over the whole adapter."""

    def begin_stage(self, context: StageContext) -> None:
        """Train on from where the last stage ended."""
        self.activate(context.history)
        for weight in self._weights().values():
            weight.requires_grad_(True)

    def end_stage(self, context: StageContext) -> Outcome:
        """`lora_A/SITE` (r, d_in) and `lora_B/SITE` (out, r)."""
        return Outcome(self._copied())

    def activate(self, history: Sequence[Learned]) -> None:
        """Load the last of these stages, or the untrained adapter.

        Raises: ArtifactDamaged, if the stage's tensors are not of this adapter's shapes.
        """
        tensors, weights = history[-1].tensors if history else self._start, self._weights()
        if history and _layout(tensors) != _layout(weights):
            raise ArtifactDamaged(
                f"the file of stage '{history[-1].task}' is damaged: it holds other tensors than the "
                "adapter; restore it from a backup"
            )
        for key, weight in weights.items():
            weight.requires_grad_(False).copy_(tensors[key])

    def acting_digest(self) -> str:
        """Over every A and every B."""
        return tensors_digest(self._weights().items())

    def _copied(self) -> Tensors:
        return {key: weight.detach().to("cpu", copy=True) for key, weight in self._weights().items()}

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{part}/{site}": getattr(layer, part)[ADAPTER_NAME].weight
            for site, layer in lora_layers(self._model).items()
            for part in ("lora_A", "lora_B")
        }


def _layout(tensors: Tensors) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}
