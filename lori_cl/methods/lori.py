"""LoRI with disjoint masks: each task trains its own cells of one sparse B under frozen A's.

Source: Zhang et al. 2025 (arXiv 2504.07448) for frozen random A's, sparse B's and magnitude masks. Masks from
free capacity, with earlier cells frozen, and A's that are blind to earlier inputs are this project's own
steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lori_cl.adapters import (
    ForeignAdapter,
    Projections,
    SparseAdapter,
    attach,
    lora_model,
    projections_digest,
    record_inputs,
    site_shapes,
)
from lori_cl.errors import ArtifactDamaged
from lori_cl.masks import (
    STRATEGIES,
    Claim,
    Ledger,
    Mask,
    allocate,
    cell_budget,
    require_free,
    require_free_beside,
)
from lori_cl.methods.base import Learned, Method, Outcome, StageContext, standing
from lori_cl.methods.lori_evidence import gather_evidence
from lori_cl.methods.lori_imports import IMPORTED, check_sites
from lori_cl.methods.lori_projections import Projector
from lori_cl.methods.lori_stage import LoRIStage
from lori_cl.methods.passes import passes
from lori_cl.registry import MaskRecord, Projection, still_kept
from lori_cl.spec import CurriculumSpec


class _Planned(NamedTuple):
    """A task to come."""

    task: str
    k: int
    """Cells that it asks for."""
    free: int
    """Cells that it finds free; where there are fewer than it asks for, it does not fit."""
    rank: int
    """Of the adapter, as far as it will have grown by then."""


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
        self._keeps_a = False
        self._read: dict[int, tuple[Learned, LoRIStage]] = {}

    def attach(self, base: nn.Module, seed: int, sites: Sequence[str] | None = None) -> Any:
        """A PEFT LoRA with frozen A's, drawn from the seed, and a B that is all zero."""
        self._model = lora_model(base, self._spec, sites)
        self._adapter = attach(self._model, seed, self._spec.distribution)
        self._projector = Projector(self._adapter.sites, self._spec, seed, self._adapter.projections())
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
            digest=projections_digest(self._projector.shared([], self._spec.rank)) if shared else None,
            sites={site.name: (site.out_features, site.in_features) for site in self._adapter.sites},
        )

    def projections_of(self, history: Sequence[Learned]) -> list[str]:
        """Over the run's A's at each stage's rank, or over each stage's own."""
        return [projections_digest(a) for a in self._projector.trained_under(history, self._stages(history))]

    def check_room(self, past: Sequence[Learned], tasks: Sequence[str]) -> None:
        """Count the cells that every task will claim, and the directions that its A needs."""
        taken = sum(stage.rank for stage in self._stages(standing(past)))
        self._check_room(self._ledger(past), tasks, taken)

    def begin_stage(self, context: StageContext) -> MaskRecord:
        """Claim the task's cells and open them."""
        ledger = self._ledger(context.past)
        k = self._budget(ledger.free_cells, context.tasks_left)
        while k > ledger.free_cells and self._spec.grow:
            ledger = ledger.grown(self._spec.grow)
        ledger.require(context.task, k)
        stages, seed = self._stages(context.history), context.seeds["projection"]
        self._keeps_a = self._projector.keeps(stages)
        self._opened_under = self._projector.fresh(
            context.task, stages, self._feeding(context.past), seed, ledger.rank
        )
        scores = self._scores(context, ledger, k)
        self._opened = allocate(ledger, context.task, scores, k, self._masks.granularity)
        self._open(context, self._opened)
        return self._record(self._masks.strategy)

    def check_importable(self, imported: ForeignAdapter, tasks: Sequence[str]) -> None:
        """Its sites, rank and scale must be the curriculum's, and leave room for the other tasks."""
        check_sites(imported, self._adapter.sites, self._spec)
        ledger = self._ledger([]).claim(tasks[0], Mask(imported.masks))
        self._check_room(ledger, tasks[1:], imported.rank, imported=True)

    def import_stage(self, context: StageContext, imported: ForeignAdapter) -> MaskRecord:
        """Claim the cells that the adapter fills, under the A's that it brings along."""
        sites = [site.name for site in self._adapter.sites]
        self._keeps_a = True
        self._opened = Mask({site: imported.masks[site] for site in sites})
        self._opened_under = {site: imported.weights.a[site] for site in sites}
        self._open(context, self._opened)
        b = imported.weights.b
        self._adapter.fill({site: b[site][self._opened.by_site[site]] for site in sites})
        return self._record(IMPORTED)

    def end_stage(self, context: StageContext) -> Outcome:
        """The cells, and of A and of the inputs what cannot be drawn again."""
        kind, kept_in = self._projector.kind, getattr(torch, self._spec.kept_in)
        inputs = self._gather_inputs(context) if kind.gathers_inputs else {}
        stage = LoRIStage(
            mask=self._opened,
            values={site: values.to(kept_in) for site, values in self._adapter.opened().items()},
            projections=self._opened_under if self._keeps_a else None,
            inputs=inputs,
        )
        taken = {site: u.shape[1] for sites, u in inputs.items() for site in sites}
        return Outcome(stage.to_tensors(), directions=taken if kind.gathers_inputs else None)

    def activate(self, history: Sequence[Learned]) -> None:
        """Freeze the cells of these stages in, and no others."""
        self._adapter.install(self._projector.banks(self._stages(history), sums=self._sums))

    @property
    def carries_on(self) -> bool:
        """Where earlier cells are trained on."""
        return not self._masks.freeze

    def mask_of(self, learned: Learned) -> Mask:
        """The cells that the stage claimed."""
        return self._stage(learned).mask

    def as_trained(self, history: Sequence[Learned]) -> Sequence[Learned]:
        """All of them where tasks are stacked; a task that was trained from the base alone stands alone."""
        return history if self._spec.composition == "stacked" else history[-1:]

    def acting_digest(self) -> str:
        """Over every A and the B that acts."""
        return self._adapter.acting_digest()

    def _check_room(
        self, ledger: Ledger, tasks: Sequence[str], taken: int, *, imported: bool = False
    ) -> None:
        """Count what each of these tasks will find; `taken` are the ranks of those learned, together."""
        planned = list(self._planned(ledger, tasks))
        self._projector.check_room({each.task: each.rank for each in planned}, taken)
        if self._spec.grow or ledger.overlap:
            return
        all_tasks, even = len(ledger.claims) + len(tasks), self._masks.budget == "even"
        for task, k, free, _ in planned:
            if imported:
                require_free_beside(task, k, free, ledger, len(tasks))
            else:
                learned = len(ledger.claims)
                require_free(task, k, free, ledger.cells, tasks=all_tasks, learned=learned, even=even)

    def _planned(self, ledger: Ledger, tasks: Sequence[str]) -> Iterator[_Planned]:
        """What each of these tasks will ask for and find, one after the other."""
        rank, free = ledger.rank, ledger.free_cells
        rows = sum(site.out_features for site in self._adapter.sites)
        for position, task in enumerate(tasks):
            k = self._budget(free, len(tasks) - position)
            while k > free and self._spec.grow:
                rank, free = rank + self._spec.grow, free + self._spec.grow * rows
            yield _Planned(task, k, free, rank)
            free -= 0 if ledger.overlap else k

    def _budget(self, free: int, tasks_left: int) -> int:
        if self._masks.budget == "even":
            return max(1, free // tasks_left)
        return cell_budget(self._masks.density, self._adapter.cells)

    @property
    def _sums(self) -> bool:
        return self._masks.overlap == "allow" and self._masks.freeze

    def _stages(self, history: Sequence[Learned]) -> list[LoRIStage]:
        return [self._stage(learned) for learned in history]

    def _feeding(self, past: Sequence[Learned]) -> list[LoRIStage]:
        """The stages out of whose inputs a new A keeps."""
        kept = still_kept([learned.retired_after for learned in past])
        return [self._stage(past[position]) for position in kept]

    def _stage(self, learned: Learned) -> LoRIStage:
        """A finished stage, read from its tensors once."""
        if id(learned) not in self._read:
            stage = LoRIStage.from_learned(learned, self._adapter.sites)
            self._read[id(learned)] = (learned, stage)  # holding on to it keeps its id its own
        return self._read[id(learned)][1]

    def _ledger(self, past: Sequence[Learned]) -> Ledger:
        """What these stages claimed, of an adapter as far as it has grown; what was retired is free again."""
        ledger = Ledger(site_shapes(self._adapter.sites), overlap=self._masks.overlap == "allow")
        rank = max((stage.rank for stage in self._stages(past)), default=self._spec.rank)
        ledger = ledger.grown(rank - self._spec.rank)
        taken = torch.zeros(ledger.cells, dtype=torch.bool)
        claims = []
        for learned in standing(past):
            mask = self._stage(learned).mask.widened(ledger.shapes)
            cells = mask.flat()
            if not ledger.overlap and bool((cells & taken).any()):
                raise ArtifactDamaged(
                    f"the file of stage '{learned.task}' is damaged: its mask holds cells of an earlier "
                    "stage; restore it from a backup"
                )
            taken |= cells
            claims.append(Claim(learned.task, mask))
        return replace(ledger, claims=tuple(claims))

    def _open(self, context: StageContext, mask: Mask) -> None:
        beneath = self._stages(context.history) if self._spec.composition == "stacked" else []
        self._adapter.install(self._projector.banks(beneath, self._opened_under, sums=self._sums))
        self._adapter.open(mask.by_site, carry_on=not self._masks.freeze)

    def _scores(self, context: StageContext, ledger: Ledger, k: int) -> Float[Tensor, "cells"]:
        if k == ledger.free_cells:  # LoRI-D: there is nothing to choose
            return torch.zeros(ledger.cells)
        lr = self.curriculum.train.lr
        assert lr is not None, "the learning rate is settled when the run begins"
        strategy = STRATEGIES[self._masks.strategy]
        evidence = gather_evidence(
            strategy,
            context,
            self._adapter,
            Mask.from_flat(ledger.free(), ledger.shapes),
            lambda mask: self._open(context, mask),
            self._masks.calibration,
            lr,
        )
        return strategy.score(evidence)

    def _record(self, strategy: str) -> MaskRecord:
        cells = self._opened.count()
        return MaskRecord(
            strategy=strategy,
            density=cells / self._adapter.cells,
            cells=cells,
            digest=self._opened.digest(),
            by_site=self._opened.count_by_site(),
            rank=self._opened.rank,
            projection=projections_digest(self._opened_under),
        )

    @torch.no_grad()
    def _gather_inputs(self, context: StageContext) -> Mapping[tuple[str, ...], Float[Tensor, "d_in k"]]:
        """The directions that this task newly takes of every site's inputs."""
        layers, feeding = self._adapter.layers, self._feeding(context.past)
        taken: dict[tuple[str, ...], Tensor] = {}
        for sites in passes(self._adapter.sites):
            with record_inputs(self._model, {site: layers[site] for site in sites}) as moments:
                for _ in context.losses(self._spec.null_space.examples):
                    pass
            taken |= self._projector.newly_taken(feeding, moments)
        return taken
