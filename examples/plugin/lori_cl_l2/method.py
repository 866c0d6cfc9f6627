"""A plain LoRA that is pulled towards where the last stage ended."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from lori_cl.methods import StageContext
from lori_cl.methods.sequential_lora import SequentialLoRA
from lori_cl.spec.method_settings import SequentialLoRA as SequentialLoRASettings


class L2Settings(SequentialLoRASettings):
    """The settings of a plain LoRA, and the strength of the penalty."""

    method = "l2-to-last-stage"

    strength: float = Field(default=0.1, ge=0)


class L2ToLastStage(SequentialLoRA):
    """Adds strength · Σ (θ − θ_last)² to the loss of every batch."""

    settings_class = L2Settings

    def begin_stage(self, context: StageContext) -> None:
        """Remember where the last stage ended; the first stage has no penalty."""
        super().begin_stage(context)
        self._trained = [p for p in self._model.parameters() if p.requires_grad]
        self._last = [p.detach().clone() for p in self._trained] if context.history else []

    def batch_loss(self, learner: nn.Module, batch: Mapping[str, Any], loss: Tensor) -> Tensor:
        """Add the penalty."""
        if not self._last:
            return loss
        pairs = zip(self._trained, self._last, strict=True)
        return loss + self.settings.strength * sum((p - last).square().sum() for p, last in pairs)
