"""LoRI with disjoint masks: each task trains its own cells of one sparse B under frozen A's.

Source: Zhang et al. 2025 (arXiv 2504.07448) for frozen random A's, sparse B's and magnitude masks. Masks from
free capacity, frozen earlier cells, and A's that exclude the input directions of earlier tasks are additions
of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lori_cl.adapters import (
    ExternalAdapter,
    Projections,
    SparseAdapter,
    attach,
    lora_model,
    projections_digest,
    record_inputs,
    site_shapes,
)
from lori_cl.errors import ArtifactDamaged, InputError
from lori_cl.lori_rules import IMPORTED, cells_to_claim, may_overlap
from lori_cl.masks import STRATEGIES, Claim, Ledger, Mask, allocate, require_free, require_free_after_import
from lori_cl.methods.lori.checks import StoredCells
from lori_cl.methods.lori.evidence import gather_evidence
from lori_cl.methods.lori.imports import check_sites
from lori_cl.methods.lori.projections import Projector, Protected, site_batches
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.methods.masked import MaskedMethod
from lori_cl.methods.stages import StageContext, StageResult, StageSize, StageState, active_stages
from lori_cl.methods.verification import StoredRun
from lori_cl.registry import MaskRecord, Projection, protected_stages
from lori_cl.spec import CurriculumSpec
from lori_cl.spec.method_settings import LoRI as LoRISettings

Inputs = Mapping[tuple[str, ...], Float[Tensor, "d_in k"]]
"""Input directions by the sites that share the input."""


class _Planned(NamedTuple):
    """A task to train, with its expected cells and rank."""

    task: str
    k: int
    """Cells that it needs."""
    free: int
    """Free cells at its start; the task does not fit if `k` is larger."""
    rank: int
    """The adapter's rank at its start."""


class LoRI(MaskedMethod):
    """Frozen projections A, one B, and a ledger that records which task owns which cell."""

    settings_class = LoRISettings
    default_lr = 5e-3

    def __init__(self, curriculum: CurriculumSpec) -> None:
        super().__init__(curriculum)
        self._masks = curriculum.masks
        self._spec = curriculum.adapter
        self._model: Any
        self._adapter: SparseAdapter
        self._projector: Projector
        self._opened: Mask
        self._opened_projections: Projections
        self._store_projections = False
        self._texts: Inputs = {}
        self._read: dict[int, tuple[StageState, LoRIStage]] = {}

    @classmethod
    def checks(cls, stored: StoredRun) -> Mapping[str, Callable[[], str]]:
        """Return the checks of the projections A, the masks and the ledger."""
        cells = cache(lambda: StoredCells(stored))
        return {
            "projections": lambda: cells().check_projections(),
            "masks": lambda: cells().check_masks(),
            "ledger": lambda: cells().check_ledger(),
        }

    def attach(self, base: nn.Module, seed: int, sites: Sequence[str] | None = None) -> Any:
        """Attach a PEFT LoRA with frozen projections A, drawn from the seed, and an all-zero B."""
        self._model = lora_model(base, self._spec, sites)
        self._adapter = attach(self._model, seed, self._spec.distribution)
        self._projector = Projector(self._adapter.sites, self._spec, seed, self._adapter.projections())
        self._seed = seed
        return self._model

    def projection(self) -> Projection:
        """Return the run's projections A; their digest is None if each stage has its own A and digest."""
        shared = not self._projector.kind.per_task
        return Projection(
            kind=self._spec.projection,
            distribution=self._spec.distribution,
            seed=self._seed,
            rank=self._spec.rank,
            digest=projections_digest(self._projector.shared([], self._spec.rank)) if shared else None,
            sites={site.name: (site.out_features, site.in_features) for site in self._adapter.sites},
        )

    def projections_of(self, history: Sequence[StageState]) -> list[str]:
        """Return the digest of the projections A of each finished stage, at the stage's rank."""
        return [projections_digest(a) for a in self._projector.trained_under(history, self._stages(history))]

    def check_capacity(self, past: Sequence[StageState], tasks: Sequence[str]) -> None:
        """Check the mask strategy, the cells that every task will claim, and the input directions A needs."""
        STRATEGIES.find(self._masks.strategy)
        taken = sum(stage.rank for stage in self._stages(active_stages(past)))
        self._check_capacity(self.ledger(past), tasks, taken)

    def stage_sizes(self, past: Sequence[StageState], tasks: Sequence[str]) -> Sequence[StageSize]:
        """Return the cells that each task claims, and those that its mask strategy trains or scores first."""
        needs = STRATEGIES.find(self._masks.strategy).needs
        adds_rows = self._projector.kind.per_task and self._spec.composition == "stacked"
        rows = sum(stage.rank for stage in self._stages(active_stages(past))) if adds_rows else 0
        sizes = []
        for each in self._planned(self.ledger(past), tasks):
            rows = (rows if adds_rows else 0) + each.rank
            selects = each.k < each.free
            calibrated = each.free if selects and needs == "calibrated_b" else 0
            scored = each.free if selects and needs == "gradients" else 0
            per_row = sum(site.in_features + site.out_features for site in self._adapter.sites)
            indices = max(each.k, calibrated, scored)
            fixed = 4 * rows * per_row + 8 * indices  # float32 A and B, int64 indices
            length = self._masks.calibration
            sizes.append(
                StageSize(
                    trained=each.k,
                    fixed_bytes=fixed,
                    calibrated=calibrated,
                    calibration_epochs=length.epochs,
                    calibration_fraction=length.fraction or 1.0,
                    scored=scored,
                )
            )
        return sizes

    def begin_stage(self, context: StageContext) -> MaskRecord:
        """Claim the task's cells and make them trainable."""
        ledger = self.ledger(context.past)
        k = self._budget(ledger.free_cells, context.tasks_left)
        while k > ledger.free_cells and self._spec.grow:
            ledger = ledger.grown(self._spec.grow)
        ledger.require(context.task, k)
        stages, seed = self._stages(context.history), context.seeds["projection"]
        self._store_projections = self._projector.must_store(stages)
        self._texts = self._gather_texts(context)
        self._opened_projections = self._projector.new_projections(
            context.task, stages, self._protected(context.past), seed, ledger.rank
        )
        scores = self._scores(context, ledger, k)
        self._opened = allocate(ledger, context.task, scores, k, self._masks.granularity)
        self._open(context, self._opened)
        return self._record(self._masks.strategy)

    def check_importable(self, imported: ExternalAdapter, tasks: Sequence[str]) -> None:
        """Check that the sites, rank and scale are the curriculum's, and that the other tasks fit."""
        check_sites(imported, self._adapter.sites, self._spec)
        ledger = self.ledger([]).claim(tasks[0], Mask(imported.masks))
        self._check_capacity(ledger, tasks[1:], imported.rank, imported=True)

    def import_stage(self, context: StageContext, imported: ExternalAdapter) -> MaskRecord:
        """Claim the cells that the adapter fills, with the adapter's own projections A."""
        sites = [site.name for site in self._adapter.sites]
        self._store_projections = True
        self._texts = self._gather_texts(context)
        self._opened = Mask({site: imported.masks[site] for site in sites})
        self._opened_projections = {site: imported.weights.a[site] for site in sites}
        self._open(context, self._opened)
        b = imported.weights.b
        self._adapter.fill({site: b[site][self._opened.by_site[site]] for site in sites})
        return self._record(IMPORTED)

    def end_stage(self, context: StageContext) -> StageResult:
        """Return the cells, and the projections A and input directions that cannot be drawn again."""
        kind, kept_in = self._projector.kind, getattr(torch, self._spec.kept_in)
        inputs = self._gather_inputs(context) if kind.gathers_inputs else {}
        stage = LoRIStage(
            mask=self._opened,
            values={site: values.to(kept_in) for site, values in self._adapter.opened().items()},
            projections=self._opened_projections if self._store_projections else None,
            inputs=inputs,
            protected={} if context.past else self._texts,
        )
        return StageResult(stage.to_tensors(), directions=stage.directions if kind.gathers_inputs else None)

    def activate(self, history: Sequence[StageState]) -> None:
        """Install the cells of exactly these stages, frozen."""
        self._adapter.install(self._projector.banks(self._stages(history), sums=self._sums))

    @property
    def is_cumulative(self) -> bool:
        """Whether earlier cells are trained further."""
        return not self._masks.freeze

    def mask_of(self, state: StageState) -> Mask:
        """Return the mask that the stage claimed."""
        return self._stage(state).mask

    def as_trained(self, history: Sequence[StageState]) -> Sequence[StageState]:
        """Return all stages if tasks are stacked, otherwise only the last."""
        return history if self._spec.composition == "stacked" else history[-1:]

    def acting_digest(self) -> str:
        """SHA-256 of every A and the active B."""
        return self._adapter.acting_digest()

    def _check_capacity(
        self, ledger: Ledger, tasks: Sequence[str], taken: int, *, imported: bool = False
    ) -> None:
        """Check the capacity for each of these tasks; `taken` is the sum of the trained tasks' ranks."""
        planned = list(self._planned(ledger, tasks))
        self._projector.check_capacity({each.task: each.rank for each in planned}, taken)
        if self._spec.grow or ledger.overlap:
            return
        all_tasks, even = len(ledger.claims) + len(tasks), self._masks.budget == "even"
        for task, k, free, _ in planned:
            if imported:
                require_free_after_import(task, k, free, ledger, len(tasks))
            else:
                trained = len(ledger.claims)
                require_free(task, k, free, ledger.cells, tasks=all_tasks, trained=trained, even=even)

    def _planned(self, ledger: Ledger, tasks: Sequence[str]) -> Iterator[_Planned]:
        """Yield the cells needed and free for each of these tasks, in training order."""
        rank, free = ledger.rank, ledger.free_cells
        rows = sum(site.out_features for site in self._adapter.sites)
        for position, task in enumerate(tasks):
            k = self._budget(free, len(tasks) - position)
            while k > free and self._spec.grow:
                rank, free = rank + self._spec.grow, free + self._spec.grow * rows
            yield _Planned(task, k, free, rank)
            free -= 0 if ledger.overlap else k

    def _budget(self, free: int, tasks_left: int) -> int:
        masks = self._masks
        return cells_to_claim(masks.budget, masks.density, self._adapter.cells, free, tasks_left)

    @property
    def _sums(self) -> bool:
        return may_overlap(self._masks.overlap) and self._masks.freeze

    def _stages(self, history: Sequence[StageState]) -> list[LoRIStage]:
        return [self._stage(state) for state in history]

    def _protected(self, past: Sequence[StageState]) -> Protected:
        """Return the input directions that a new A excludes: of the protected texts, and of stages."""
        positions = protected_stages([state.retired_after for state in past])
        of_stages = [self._stage(past[position]).inputs for position in positions]
        return [self._texts, *of_stages] if self._texts else of_stages

    def _stage(self, state: StageState) -> LoRIStage:
        """Return a finished stage, read from its tensors once."""
        if id(state) not in self._read:
            stage = LoRIStage.from_state(state, self._adapter.sites)
            self._read[id(state)] = (state, stage)  # the reference keeps the id unique
        return self._read[id(state)][1]

    def ledger(self, past: Sequence[StageState]) -> Ledger:
        """Return the ledger of these stages at the current rank; cells of retired stages are free."""
        ledger = Ledger(site_shapes(self._adapter.sites), overlap=may_overlap(self._masks.overlap))
        rank = max((stage.rank for stage in self._stages(past)), default=self._spec.rank)
        ledger = ledger.grown(rank - self._spec.rank)
        taken = torch.zeros(ledger.cells, dtype=torch.bool)
        claims = []
        for state in active_stages(past):
            mask = self._stage(state).mask.widened(ledger.shapes)
            cells = mask.flat()
            if not ledger.overlap and bool((cells & taken).any()):
                raise ArtifactDamaged(
                    f"the file of stage '{state.task}' is damaged: its mask contains cells of an earlier "
                    "stage; restore it from a backup"
                )
            taken |= cells
            claims.append(Claim(state.task, mask))
        return replace(ledger, claims=tuple(claims))

    def _open(self, context: StageContext, mask: Mask) -> None:
        earlier = self._stages(context.history) if self._spec.composition == "stacked" else []
        self._adapter.install(self._projector.banks(earlier, self._opened_projections, sums=self._sums))
        self._adapter.open(mask.by_site, keep_values=not self._masks.freeze)

    def _scores(self, context: StageContext, ledger: Ledger, k: int) -> Float[Tensor, "cells"]:
        if k == ledger.free_cells:  # LoRI-D: all free cells are claimed
            return torch.zeros(ledger.cells)
        lr = self.curriculum.train.lr
        assert lr is not None, "the learning rate is set when the run starts"
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
            projection=projections_digest(self._opened_projections),
        )

    @torch.no_grad()
    def _gather_inputs(self, context: StageContext) -> Inputs:
        """Return the input directions that this task newly reserves at every site."""

        def read() -> None:
            for _ in context.losses(self._spec.null_space.examples):
                pass

        return self._new_directions(self._protected(context.past), read)

    @torch.no_grad()
    def _gather_texts(self, context: StageContext) -> Inputs:
        """Return the directions of the protected texts: of the base model's inputs, gathered once a run."""
        if self._spec.null_space.protect is None:
            return {}
        if context.past:
            return self._stage(context.past[0]).protected
        if context.read_protected is None:
            raise InputError(
                "adapter.null_space.protect is only supported by lori-cl run and Workspace.run; remove it"
            )
        self._adapter.install([])  # B is zero
        return self._new_directions([], context.read_protected)

    def _new_directions(self, protected: Protected, read: Callable[[], None]) -> Inputs:
        """Return the directions of the inputs that `read` gives to the sites, outside the protected ones."""
        layers = self._adapter.layers
        found: dict[tuple[str, ...], Tensor] = {}
        for sites in site_batches(self._adapter.sites):
            with record_inputs(self._model, {site: layers[site] for site in sites}) as moments:
                read()
            found |= self._projector.new_directions(protected, moments)
        return found
