"""LoRI with disjoint masks: each task trains its own cells of one sparse B under frozen A's.

Source: Zhang et al. 2025 (arXiv 2504.07448) for frozen random A's, sparse B's and magnitude masks. Masks from
free capacity, with earlier cells frozen, and A's that are blind to earlier inputs are this project's own
steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lori_cl.adapters import (
    Bank,
    Projections,
    SparseAdapter,
    attach,
    lora_model,
    projections_digest,
    record_inputs,
    site_shapes,
)
from lori_cl.masks import STRATEGIES, Evidence, Ledger, Mask, allocate, cell_budget, require_free
from lori_cl.methods.base import Learned, Method, Outcome, StageContext
from lori_cl.methods.lori_projections import Projector
from lori_cl.methods.lori_stage import LoRIStage
from lori_cl.registry import MaskRecord, Projection
from lori_cl.spec import CurriculumSpec

CALIBRATION_LR_FACTOR = 0.1
"""LoRI's published settings train the dense B at a tenth of the sparse one's rate (5e-5 to 5e-4)."""

GRADIENT_EPOCHS = 0.05
"""A twentieth of an epoch is what `gradient` masks look at."""


class LoRI(Method):
    """Frozen A's, one B, and a ledger of who owns which cell."""

    default_lr = 5e-3

    def __init__(self, curriculum: CurriculumSpec) -> None:
        super().__init__(curriculum)
        self._masks = curriculum.masks
        self._spec = curriculum.adapter
        self._model: Any
        self._adapter: SparseAdapter
        self._projector: Projector
        self._opened: Mask
        self._opened_under: Projections
        self._read: dict[int, tuple[Learned, LoRIStage]] = {}

    def attach(self, base: nn.Module, seed: int) -> Any:
        """A PEFT LoRA with frozen A's, drawn from the seed, and a B that is all zero."""
        self._model = lora_model(base, self._spec)
        self._adapter = attach(self._model, seed, self._spec.distribution)
        self._projector = Projector(self._adapter.sites, self._spec, seed)
        self._seed = seed
        return self._model

    def projection(self) -> Projection:
        """The run's A's: drawn before the first stage, or, task by task, with a digest of each stage's
        own."""
        shared = not self._projector.kind.per_task
        return Projection(
            kind=self._spec.projection,
            distribution=self._spec.distribution,
            seed=self._seed,
            rank=self._spec.rank,
            digest=projections_digest(self._projector.of_run(self._spec.rank)) if shared else None,
            sites={site.name: (site.out_features, site.in_features) for site in self._adapter.sites},
        )

    def projection_of(self, learned: Learned) -> str:
        """Over the run's A's at the stage's rank, or over the stage's own."""
        stage = self._stage(learned)
        per_task = self._projector.kind.per_task
        return projections_digest(
            self._projections_of(learned) if per_task else self._projector.of_run(stage.rank, stage)
        )

    def check_room(self, history: Sequence[Learned], tasks: Sequence[str]) -> None:
        """Count the cells that every task will claim, and the directions that its A needs."""
        ledger = self._ledger(history)
        self._projector.check_room(tasks, begun=len(history))
        if self._spec.grow or ledger.overlap:
            return
        free = ledger.free_cells
        for position, task in enumerate(tasks):
            k = self._budget(free, len(tasks) - position)
            require_free(task, k, free, ledger.cells, tasks=len(history) + len(tasks))
            free -= k

    def begin_stage(self, context: StageContext) -> MaskRecord:
        """Claim the task's cells and open them."""
        ledger = self._ledger(context.history)
        k = self._budget(ledger.free_cells, context.tasks_left)
        while k > ledger.free_cells and self._spec.grow:
            ledger = ledger.grown(self._spec.grow)
        ledger.require(context.task, k)
        self._opened_under = self._projections_for(context, ledger)
        scores = self._scores(context, ledger, k)
        self._opened = allocate(ledger, context.task, scores, k, self._masks.granularity)
        self._open(context, self._opened)
        return MaskRecord(
            strategy=self._masks.strategy,
            density=k / self._adapter.cells,
            cells=self._opened.count(),
            digest=self._opened.digest(),
            by_site=self._opened.count_by_site(),
            rank=_rank(ledger),
            projection=projections_digest(self._opened_under),
        )

    def end_stage(self, context: StageContext) -> Outcome:
        """The cells, and of A and of the inputs what cannot be drawn again."""
        kind = self._projector.kind
        inputs = self._gather_inputs(context) if kind.gathers_inputs else {}
        stage = LoRIStage(
            mask=self._opened,
            values=self._adapter.opened(),
            projections=self._opened_under if kind.stored else None,
            inputs=inputs,
        )
        taken = {site: u.shape[1] for sites, u in inputs.items() for site in sites}
        return Outcome(stage.to_tensors(), directions=taken if kind.gathers_inputs else None)

    def activate(self, history: Sequence[Learned]) -> None:
        """Freeze the cells of these stages in, and no others."""
        self._adapter.install(self._banks(history))

    def as_trained(self, history: Sequence[Learned]) -> Sequence[Learned]:
        """All of them where tasks are stacked; a task that was trained from the base alone stands alone."""
        return history if self._spec.composition == "stacked" else history[-1:]

    def acting_digest(self) -> str:
        """Over every A and the B that acts."""
        return self._adapter.acting_digest()

    def _budget(self, free: int, tasks_left: int) -> int:
        if self._masks.budget == "even":
            return max(1, free // tasks_left)
        return cell_budget(self._masks.density, self._adapter.cells)

    def _stage(self, learned: Learned) -> LoRIStage:
        """A finished stage, read from its tensors once."""
        if id(learned) not in self._read:
            stage = LoRIStage.from_tensors(learned.tensors, site_shapes(self._adapter.sites))
            self._read[id(learned)] = (learned, stage)  # holding on to it keeps its id its own
        return self._read[id(learned)][1]

    def _ledger(self, history: Sequence[Learned]) -> Ledger:
        stages = [self._stage(learned) for learned in history]
        ledger = Ledger(site_shapes(self._adapter.sites), overlap=self._masks.overlap == "allow")
        rows = max((stage.rank for stage in stages), default=self._spec.rank) - self._spec.rank
        ledger = ledger.grown(rows) if rows else ledger
        for learned, stage in zip(history, stages, strict=True):
            ledger = ledger.claim(learned.task, stage.mask.widened(ledger.shapes))
        return ledger

    def _projections_for(self, context: StageContext, ledger: Ledger) -> Projections:
        stages = [self._stage(learned) for learned in context.history]
        if not self._projector.kind.per_task:
            return self._projector.of_run(_rank(ledger), stages[0] if stages else None)
        earlier = [self._projections_of(learned) for learned in context.history]
        seed = context.seeds["projection"]
        return self._projector.fresh(context.task, stages, earlier, seed, _rank(ledger))

    def _projections_of(self, learned: Learned) -> Projections:
        return self._projector.of_stage(self._stage(learned), learned.seeds["projection"])

    def _banks(self, history: Sequence[Learned], opening: Projections | None = None) -> list[Bank]:
        """What acts after these stages, and an empty last bank for cells to be opened in."""
        stages = [self._stage(learned) for learned in history]
        if self._projector.kind.per_task:
            banks = [
                Bank(self._projections_of(learned), [stage.cells])
                for learned, stage in zip(history, stages, strict=True)
            ]
            return [*banks, Bank(opening)] if opening is not None else banks
        rank = max((stage.rank for stage in stages), default=self._spec.rank)
        shared = opening or self._projector.of_run(rank, stages[0] if stages else None)
        sums = self._masks.overlap == "allow" and self._masks.freeze
        return [Bank(shared, [stage.cells for stage in stages], sums)]

    def _open(self, context: StageContext, mask: Mask) -> None:
        beneath = context.history if self._spec.composition == "stacked" else []
        self._adapter.install(self._banks(beneath, self._opened_under))
        self._adapter.open(mask.by_site, carry_on=not self._masks.freeze)

    def _scores(self, context: StageContext, ledger: Ledger, k: int) -> Float[Tensor, "cells"]:
        strategy = STRATEGIES[self._masks.strategy]
        free = Mask.from_flat(ledger.free(), ledger.shapes)
        evidence = Evidence(ledger.cells, context.seeds["mask"])
        if k == ledger.free_cells:  # LoRI-D: there is nothing to choose
            return torch.zeros(ledger.cells)
        match strategy.needs:
            case "calibrated_b":
                evidence = replace(evidence, calibrated_b=self._calibrated(context, free))
            case "gradients":
                evidence = replace(evidence, gradients=self._gradients(context, free))
        return strategy.score(evidence)

    def _calibrated(self, context: StageContext, free: Mask) -> Float[Tensor, "cells"]:
        """B after LoRI-D over every free cell."""
        settings, train = self._masks.calibration, self.curriculum.train
        assert train.lr is not None, "the learning rate is settled when the run begins"
        self._open(context, free)
        context.calibrate(settings.epochs, settings.lr or train.lr * CALIBRATION_LR_FACTOR)
        return _spread(self._adapter.opened(), free)

    def _gradients(self, context: StageContext, free: Mask) -> Float[Tensor, "cells"]:
        """Σ |∂L/∂B| over every free cell, before the first step."""
        self._open(context, free)
        sums: dict[str, Tensor] = {}
        examples = round((self._masks.calibration.epochs or GRADIENT_EPOCHS) * context.n_train)
        for loss in context.losses(max(1, examples)):
            loss.backward()  # type: ignore[no-untyped-call]
            for site, gradient in self._adapter.take_gradients().items():
                sums[site] = sums[site] + gradient.abs() if site in sums else gradient.abs()
        return _spread(sums, free)

    @torch.no_grad()
    def _gather_inputs(self, context: StageContext) -> Mapping[tuple[str, ...], Float[Tensor, "d_in k"]]:
        """The directions that this task newly takes of every site's inputs."""
        with record_inputs(self._model, self._adapter.layers) as moments:
            for _ in context.losses(self._spec.null_space.examples):
                pass
        return self._projector.newly_taken([self._stage(s) for s in context.history], moments)


def _rank(ledger: Ledger) -> int:
    return next(iter(ledger.shapes.values()))[1]


def _spread(by_site: Mapping[str, Tensor], mask: Mask) -> Float[Tensor, "cells"]:
    """Values of the mask's cells, over all cells; 0 elsewhere, and at sites that have none."""
    spread = {site: torch.zeros(cells.shape) for site, cells in mask.by_site.items()}
    for site, values in by_site.items():
        spread[site][mask.by_site[site]] = values
    return torch.cat([values.flatten() for values in spread.values()])
