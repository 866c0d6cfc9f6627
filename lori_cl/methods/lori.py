"""LoRI with disjoint masks: each task trains its own cells of one sparse B under one frozen A.

Source: Zhang et al. 2025 (arXiv 2504.07448) for frozen random A's, sparse B's and magnitude masks. Masks from
free capacity, with earlier cells frozen, are this project's own step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lori_cl.adapters import Cells, SparseAdapter, attach, lora_model, site_shapes
from lori_cl.masks import STRATEGIES, Evidence, Ledger, Mask, allocate, cell_budget, require_free
from lori_cl.methods.base import Method, StageContext, Tensors
from lori_cl.registry import MaskRecord, Projection
from lori_cl.spec import CurriculumSpec

CALIBRATION_LR_FACTOR = 0.1
"""LoRI's published settings train the dense B at a tenth of the sparse one's rate (5e-5 to 5e-4)."""


class LoRI(Method):
    """One frozen A a site, one B, and a ledger of who owns which cell."""

    default_lr = 5e-3

    def __init__(self, curriculum: CurriculumSpec) -> None:
        super().__init__(curriculum)
        self._masks = curriculum.masks
        self._adapter: SparseAdapter
        self._seed: int
        self._opened: Mask

    def attach(self, base: nn.Module, seed: int) -> Any:
        """A PEFT LoRA with frozen A's, redrawn from the seed, and a B that is all zero."""
        model = lora_model(base, self.curriculum.adapter)
        self._adapter = attach(model, seed, self.curriculum.adapter.distribution)
        self._seed = seed
        return model

    def projection(self) -> Projection:
        """The shared A's."""
        spec = self.curriculum.adapter
        return Projection(
            kind=spec.projection,
            distribution=spec.distribution,
            seed=self._seed,
            rank=spec.rank,
            digest=self._adapter.projection_digest(),
            sites={site.name: (site.out_features, site.in_features) for site in self._adapter.sites},
        )

    def check_room(self, tasks: Sequence[str]) -> None:
        """Every task claims the same number of cells."""
        cells, k = self._adapter.cells, self._budget()
        for taken, task in enumerate(tasks):
            require_free(task, k, cells - taken * k, cells, tasks=len(tasks))

    def begin_stage(self, context: StageContext) -> MaskRecord:
        """Claim the task's cells and open them at 0, on top of all earlier ones."""
        ledger = self._ledger(context.history)
        k = self._budget()
        ledger.require(context.task, k)
        strategy = STRATEGIES[self._masks.strategy]
        calibrated_b = self._calibrate(context, ledger) if strategy.calibrates else None
        scores = strategy.score(Evidence(ledger.cells, context.mask_seed, calibrated_b))
        self._opened = allocate(ledger, context.task, scores, k)
        self._open(context, self._opened)
        return MaskRecord(
            strategy=self._masks.strategy,
            density=self._masks.density,
            cells=self._opened.count(),
            digest=self._opened.digest(),
            by_site=self._opened.count_by_site(),
        )

    def end_stage(self) -> Tensors:
        """`mask/SITE`, packed bits, and `values/SITE`, float32."""
        packed = {f"mask/{site}": bits for site, bits in self._opened.packed().items()}
        values = {f"values/{site}": values for site, values in self._adapter.opened().items()}
        return packed | values

    def activate(self, history: Sequence[Tensors]) -> None:
        """Freeze the cells of these stages in, and no others."""
        self._adapter.freeze(self._cells(tensors) for tensors in history)

    def acting_digest(self) -> str:
        """Over every A and the B that acts."""
        return self._adapter.acting_digest()

    def _budget(self) -> int:
        return cell_budget(self._masks.density, self._adapter.cells)

    def _ledger(self, history: Sequence[tuple[str, Tensors]]) -> Ledger:
        ledger = Ledger(site_shapes(self._adapter.sites))
        for task, tensors in history:
            ledger = ledger.claim(task, self._mask(tensors))
        return ledger

    def _calibrate(self, context: StageContext, ledger: Ledger) -> Float[Tensor, "cells"]:
        """B after LoRI-D over every free cell; 0 where a cell is taken."""
        settings, train = self._masks.calibration, self.curriculum.train
        assert train.lr is not None, "the learning rate is settled when the run begins"
        free = Mask.from_flat(ledger.free(), ledger.shapes)
        self._open(context, free)
        context.calibrate(settings.epochs, settings.lr or train.lr * CALIBRATION_LR_FACTOR)
        values = self._adapter.opened()
        dense = torch.zeros(ledger.cells)
        dense[free.flat()] = torch.cat([values[site] for site in ledger.shapes if site in values])
        return dense

    def _open(self, context: StageContext, mask: Mask) -> None:
        self.activate([tensors for _, tensors in context.history])
        self._adapter.open(mask.by_site)

    def _mask(self, tensors: Tensors) -> Mask:
        shapes = site_shapes(self._adapter.sites)
        return Mask.from_packed({site: tensors[f"mask/{site}"] for site in shapes}, shapes)

    def _cells(self, tensors: Tensors) -> Cells:
        prefix = "values/"
        values = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        return Cells(self._mask(tensors).by_site, values)
