"""LoRI's own checks of a recorded run: projections A, masks and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from lori_cl.adapters import Site, draw_projections, projections_digest
from lori_cl.digest import derive_seed
from lori_cl.errors import VerificationError
from lori_cl.lori_rules import IMPORTED, may_overlap
from lori_cl.masks import Claim, Ledger
from lori_cl.methods.lori.projections import Projector
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.methods.verification import StoredRun, expect
from lori_cl.registry import MaskRecord, Projection, Stage


class StoredCells:
    """The checks of a run's projections, masks and ledger against the cells in its files.

    Raises: VerificationError, if the registry has no projection of the run.
    """

    def __init__(self, stored: StoredRun) -> None:
        if stored.run.projection is None:
            raise VerificationError(f"run '{stored.run.name}': the registry has no projection of this run")
        self._stored, self._run = stored, stored.run
        self._projection: Projection = stored.run.projection
        rank, shapes = self._projection.rank, self._projection.sites
        self._sites: Sequence[Site] = [
            Site(name, in_features, out, rank) for name, (out, in_features) in shapes.items()
        ]
        self._overlap = may_overlap(stored.curriculum.masks.overlap)

    @cached_property
    def _stages(self) -> Sequence[LoRIStage]:
        return [LoRIStage.from_state(state, self._sites) for state in self._stored.states]

    def check_projections(self) -> str:
        """Check that every A, drawn again or stored, has the recorded digest, and is the curriculum's."""
        adapter, a = self._stored.curriculum.adapter, self._projection
        seed = derive_seed(self._stored.curriculum.seed, "projection")
        expect(
            "the curriculum",
            "(projection, distribution, rank, seed) of its A's",
            (adapter.projection, adapter.distribution, adapter.rank, seed),
            (a.kind, a.distribution, a.rank, a.seed),
        )
        projector = Projector(
            self._sites, adapter, a.seed, draw_projections(self._sites, a.seed, adapter.distribution)
        )
        if a.digest is not None:
            drawn = projections_digest(projector.shared([], a.rank))
            expect("the run", "the digest of its A's, drawn again,", drawn, a.digest)
        made = projector.trained_under(self._stored.states, self._stages)
        for stage, made_a in zip(self._run.stages, made, strict=True):
            where, found = self._stored.at(stage.position), projections_digest(made_a)
            in_file = self._stored.metadata[stage.position - 1]["projection"]
            expect(where, f"the digest of its A's in {self._stored.file_of(stage)}", in_file, found)
            expect(where, "the digest of its A's", found, _mask(stage).projection or found)
        stored = sum(stage.projections is not None for stage in self._stages)
        drawn_again = len(self._stages) - stored
        return f"projections A of {len(self._stages)} stages, {drawn_again} drawn again, {stored} stored"

    def check_masks(self) -> str:
        """Check that every mask is the registered one, has one value per cell, and claims only free cells."""
        for position in range(1, len(self._stages) + 1):
            self._check_mask(position)
            if not self._overlap:
                self._check_disjoint(position)
        cells = sum(_mask(stage).cells for stage in self._run.stages)
        ownership = "overlap allowed" if self._overlap else "each owned by one task at a time"
        return f"{cells:,} cells of {len(self._stages)} tasks, {ownership}"

    def check_ledger(self) -> str:
        """Check that claimed and free cells together are all cells."""
        run, stages = self._run, self._run.stages
        shapes = {site: (out, run.rank or 0) for site, (out, _) in self._projection.sites.items()}
        active = [i for i, stage in enumerate(stages) if stage.retired_after is None]
        claims = [Claim(stages[i].task, self._stages[i].mask.widened(shapes)) for i in active]
        book = Ledger(shapes, tuple(claims), overlap=self._overlap)
        free = int(book.free().count_nonzero())
        expect("the ledger", "the number of free cells", free, run.free_cells)
        if book.overlap:
            return f"{book.cells:,} cells, all free for every task"
        claimed = sum(_mask(stages[i]).cells for i in active)
        total = self._projection.cells(run.rank)
        expect("the ledger", f"{claimed:,} claimed + {free:,} free", claimed + free, total)
        return f"{claimed:,} claimed + {free:,} free = {book.cells:,} cells"

    def _check_mask(self, position: int) -> None:
        stage, stored, curriculum = (
            self._run.stages[position - 1],
            self._stages[position - 1],
            self._stored.curriculum,
        )
        where, file, record = self._stored.at(position), self._stored.file_of(stage), _mask(stage)
        dtype = getattr(torch, curriculum.adapter.kept_in)
        by_site = stored.mask.count_by_site()
        cells = sum(by_site.values())
        density = cells / self._projection.cells()
        # Records from before adapters could grow contain the configured density.
        is_configured = record.density == curriculum.masks.density
        strategy = IMPORTED if record.strategy == IMPORTED else curriculum.masks.strategy
        compared = {
            "the strategy": (strategy, record.strategy),
            "the digest of the mask": (stored.mask.digest(), record.digest),
            "the number of cells": (cells, record.cells),
            "the number of cells by site": (by_site, record.by_site),
            "the density": (density, density if is_configured else record.density),
            "the rank": (stored.rank, record.rank or self._projection.rank),
            "the number of directions taken": (stored.directions, record.directions or {}),
        }
        for what, (found, recorded) in compared.items():
            expect(where, f"{what} in {file}", found, recorded)
        for site, count in by_site.items():
            values = stored.values.get(site, torch.empty(0, dtype=dtype))
            expect(where, f"(values, type) of {site} in {file}", (len(values), values.dtype), (count, dtype))

    def _check_disjoint(self, position: int) -> None:
        """Check that a mask contains no cell that was not free when it was claimed."""
        own = self._stages[position - 1].mask
        for earlier in self._run.stages[: position - 1]:
            other = self._stages[earlier.position - 1]
            if not self._stored.states[earlier.position - 1].is_active_after(position):
                continue
            both = sum(
                int((own.by_site[s][:, : other.rank] & mask).sum()) for s, mask in other.mask.by_site.items()
            )
            if both:
                stage, owner = self._run.stages[position - 1], self._stored.at(earlier.position)
                raise VerificationError(
                    f"{self._stored.at(position)}: {both:,} cells of mask {_mask(stage).digest} in "
                    f"{self._stored.file_of(stage)} belong to {owner}, mask {_mask(earlier).digest}"
                )


def _mask(stage: Stage) -> MaskRecord:
    if stage.mask is None:
        raise VerificationError(
            f"stage {stage.position} {stage.task}: the registry has no mask of this stage"
        )
    return stage.mask
