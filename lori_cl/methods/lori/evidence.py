"""Gather the evidence for LoRI's mask strategies from the model before the task is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lori_cl.adapters import SparseAdapter
from lori_cl.errors import TrainingDiverged
from lori_cl.masks import Evidence, Mask, Strategy
from lori_cl.methods.stages import StageContext
from lori_cl.spec import CalibrationSpec

CALIBRATION_LR_FACTOR = 0.1
"""LoRI's published settings train the dense B at a tenth of the sparse B's rate (5e-5 and 5e-4)."""

GRADIENT_EPOCHS = 0.05
"""`gradient` masks use a twentieth of an epoch."""


def gather_evidence(
    strategy: Strategy,
    context: StageContext,
    adapter: SparseAdapter,
    free: Mask,
    open_cells: Callable[[Mask], None],
    settings: CalibrationSpec,
    lr: float,
) -> Evidence:
    """Return the evidence that the strategy needs, for every free cell; the adapter's cells are left open.

    `open_cells` opens a mask's cells as the stage does; `lr` is the stage's own learning rate.
    """
    seed, cells = context.seeds["mask"], free.flat().numel()
    match strategy.needs:
        case "calibrated_b":
            open_cells(free)
            epochs = settings.epochs or (settings.fraction or 1.0) * context.epochs
            context.calibrate(epochs, settings.lr or lr * CALIBRATION_LR_FACTOR)
            return Evidence(cells, seed, calibrated_b=_expand(adapter.opened(), free))
        case "gradients":
            open_cells(free)
            examples = round((settings.epochs or GRADIENT_EPOCHS) * context.n_train)
            return Evidence(cells, seed, gradients=_expand(_gradients(context, adapter, examples), free))
        case "nothing":
            return Evidence(cells, seed)


def _gradients(context: StageContext, adapter: SparseAdapter, examples: int) -> Mapping[str, Tensor]:
    """Return Σ |∂L/∂B| of the open cells over the batches of so many examples, by site.

    Raises: TrainingDiverged, if a gradient is not finite.
    """
    sums: dict[str, Tensor] = {}
    for batch, loss in enumerate(context.losses(max(1, examples)), start=1):
        loss.backward()  # type: ignore[no-untyped-call]
        for site, gradient in adapter.take_gradients().items():
            if not bool(gradient.isfinite().all()):
                raise TrainingDiverged(
                    f"task '{context.task}': before training, the loss of batch {batch} is {loss.item():g}, "
                    f"and its gradient at {site} is not finite; set model.dtype to bfloat16 or float32, or "
                    "choose another masks.strategy"
                )
            sums[site] = sums[site] + gradient.abs() if site in sums else gradient.abs()
    return sums


def _expand(by_site: Mapping[str, Tensor], mask: Mask) -> Float[Tensor, "cells"]:
    """Expand the values of the mask's cells to all cells; the other cells are 0."""
    expanded = {site: torch.zeros(cells.shape) for site, cells in mask.by_site.items()}
    for site, values in by_site.items():
        expanded[site][mask.by_site[site]] = values
    return torch.cat([values.flatten() for values in expanded.values()])
