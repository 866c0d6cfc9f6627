"""What LoRI's mask strategies look at, gathered from the model that the task is about to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import SparseAdapter
from lori_cl.errors import TrainingDiverged
from lori_cl.masks import Evidence, Mask, Strategy
from lori_cl.methods.base import StageContext
from lori_cl.spec import CalibrationSpec

CALIBRATION_LR_FACTOR = 0.1
"""LoRI's published settings train the dense B at a tenth of the sparse one's rate (5e-5 to 5e-4)."""

GRADIENT_EPOCHS = 0.05
"""A twentieth of an epoch is what `gradient` masks look at."""


def gather_evidence(
    strategy: Strategy,
    context: StageContext,
    adapter: SparseAdapter,
    free: Mask,
    open_cells: Callable[[Mask], None],
    settings: CalibrationSpec,
    lr: float,
) -> Evidence:
    """All that the strategy needs, over every free cell; the adapter's cells are left open.

    `open_cells` opens a mask's cells where the stage will; `lr` is the stage's own learning rate.
    """
    seed, cells = context.seeds["mask"], free.flat().numel()
    match strategy.needs:
        case "calibrated_b":
            open_cells(free)
            context.calibrate(settings.epochs, settings.lr or lr * CALIBRATION_LR_FACTOR)
            return Evidence(cells, seed, calibrated_b=_spread(adapter.opened(), free))
        case "gradients":
            open_cells(free)
            examples = round((settings.epochs or GRADIENT_EPOCHS) * context.n_train)
            return Evidence(cells, seed, gradients=_spread(_gradients(context, adapter, examples), free))
        case "nothing":
            return Evidence(cells, seed)


def _gradients(context: StageContext, adapter: SparseAdapter, examples: int) -> Mapping[str, Tensor]:
    """By site, Σ |∂L/∂B| of the open cells over the batches of so many examples.

    Raises: TrainingDiverged, if one is not finite.
    """
    sums: dict[str, Tensor] = {}
    for batch, loss in enumerate(context.losses(max(1, examples)), start=1):
        loss.backward()  # type: ignore[no-untyped-call]
        for site, gradient in adapter.take_gradients().items():
            if not bool(gradient.isfinite().all()):
                raise TrainingDiverged(
                    f"task '{context.task}': before training, the loss of batch {batch} is {loss.item():g}, "
                    f"and its gradient at {site} is not finite; set model.dtype to bfloat16 or float32, or "
                    "masks.strategy to another one"
                )
            sums[site] = sums[site] + gradient.abs() if site in sums else gradient.abs()
    return sums


def _spread(by_site: Mapping[str, Tensor], mask: Mask) -> Float[Tensor, "cells"]:
    """Values of the mask's cells, over all cells; 0 elsewhere, and at sites that have none."""
    spread = {site: torch.zeros(cells.shape) for site, cells in mask.by_site.items()}
    for site, values in by_site.items():
        spread[site][mask.by_site[site]] = values
    return torch.cat([values.flatten() for values in spread.values()])
