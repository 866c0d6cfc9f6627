"""Baseline: one plain PEFT LoRA, trained on one task after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lori_cl.adapters import ADAPTER_NAME, lora_layers, lora_model, tensors_digest
from lori_cl.errors import ArtifactDamaged
from lori_cl.methods.base import Method
from lori_cl.methods.stages import StageContext, StageResult, StageSize, StageState, Tensors
from lori_cl.spec import CurriculumSpec
from lori_cl.spec.method_settings import SequentialLoRA as SequentialLoRASettings

A = "lora_A/"
"""Prefix of a site's name in the key of its A."""


class SequentialLoRA(Method):
    """Trains all of A and B in every stage, without protecting earlier tasks."""

    settings_class = SequentialLoRASettings
    overwrites = True
    default_lr = 5e-5
    """Has the best final task-agnostic average in `benchmarks/tune_lr.py`; grid: docs/real-run.md."""

    def __init__(self, curriculum: CurriculumSpec) -> None:
        super().__init__(curriculum)
        self._model: Any
        self._start: Tensors

    def attach(self, base: nn.Module, seed: int, sites: Sequence[str] | None = None) -> Any:
        """Attach a PEFT LoRA with PEFT's initialisation, drawn from the seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._model = lora_model(base, self.curriculum.adapter, sites)
        self._start = self._copy_weights()
        return self._model

    def sites_of(self, tensors: Tensors) -> Sequence[str]:
        """Return the sites that have an A, which is every site."""
        return [key.removeprefix(A) for key in tensors if key.startswith(A)]

    def begin_stage(self, context: StageContext) -> None:
        """Activate the last stage and make all its weights trainable."""
        self.activate(context.history)
        for weight in self._weights().values():
            weight.requires_grad_(True)

    def stage_sizes(self, past: Sequence[StageState], tasks: Sequence[str]) -> Sequence[StageSize]:
        """Return the number of all weights, which every stage trains."""
        return [StageSize(sum(weight.numel() for weight in self._weights().values()))] * len(tasks)

    def end_stage(self, context: StageContext) -> StageResult:
        """Return the weights: `lora_A/SITE` (r, d_in) and `lora_B/SITE` (out, r)."""
        return StageResult(self._copy_weights())

    def activate(self, history: Sequence[StageState]) -> None:
        """Load the last of these stages, or the untrained adapter.

        Raises: ArtifactDamaged, if the stage's tensors do not have the adapter's shapes.
        """
        tensors, weights = history[-1].tensors if history else self._start, self._weights()
        if history and _layout(tensors) != _layout(weights):
            raise ArtifactDamaged(
                f"the file of stage '{history[-1].task}' is damaged: its tensors do not match the "
                "adapter; restore it from a backup"
            )
        for key, weight in weights.items():
            weight.requires_grad_(False).copy_(tensors[key])

    def acting_digest(self) -> str:
        """SHA-256 of every A and B."""
        return tensors_digest(self._weights().items())

    def _copy_weights(self) -> Tensors:
        return {key: weight.detach().to("cpu", copy=True) for key, weight in self._weights().items()}

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{part}/{site}": getattr(layer, part)[ADAPTER_NAME].weight
            for site, layer in lora_layers(self._model).items()
            for part in ("lora_A", "lora_B")
        }


def _layout(tensors: Tensors) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}
