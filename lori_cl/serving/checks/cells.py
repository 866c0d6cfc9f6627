"""Check projections A, masks and the ledger of methods in which tasks own cells."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lori_cl.adapters import draw_projections, projections_digest
from lori_cl.errors import VerificationError
from lori_cl.masks import Claim, Ledger
from lori_cl.methods.lori_imports import IMPORTED
from lori_cl.methods.lori_projections import Projector
from lori_cl.registry import MaskRecord, Projection, Stage
from lori_cl.serving.checks.evidence import Evidence, expect

NONE = "none: this method trains A, and tasks own no cells"


def projections(evidence: Evidence) -> str:
    """Check that every A, drawn again or stored, has the recorded digest."""
    run = evidence.run
    if run.projection is None:
        return NONE
    projector = _projector(evidence, run.projection)
    if run.projection.digest is not None:
        drawn = projections_digest(projector.shared([], run.projection.rank))
        expect("the run", "the digest of its A's, drawn again,", drawn, run.projection.digest)
    stored = 0
    made = projector.trained_under(evidence.learned, evidence.cells)
    for stage, a, cells in zip(run.stages, made, evidence.cells, strict=True):
        where, found = evidence.at(stage.position), projections_digest(a)
        in_file = evidence.metadata[stage.position - 1]["projection"]
        expect(where, f"the digest of its A's in {evidence.file_of(stage)}", in_file, found)
        expect(where, "the digest of its A's", found, _mask(stage).projection or found)
        stored += cells.projections is not None
    return (
        f"projections A of {len(run.stages)} stages, {len(run.stages) - stored} drawn again, {stored} stored"
    )


def masks(evidence: Evidence) -> str:
    """Check that every mask is the registered one, has one value per cell, and claims only free cells."""
    run = evidence.run
    if run.projection is None:
        for stage in run.stages:
            expect(evidence.at(stage.position), "its mask", None, stage.mask)
        return NONE
    overlap = evidence.curriculum.masks.overlap == "allow"
    for position in range(1, len(run.stages) + 1):
        _check_mask(evidence, run.projection, position)
        if not overlap:
            _check_disjoint(evidence, position)
    cells = sum(_mask(stage).cells for stage in run.stages)
    ownership = "overlap allowed" if overlap else "each owned by one task at a time"
    return f"{cells:,} cells of {len(run.stages)} tasks, {ownership}"


def ledger(evidence: Evidence) -> str:
    """Check that claimed and free cells together are all cells."""
    run = evidence.run
    if run.projection is None:
        return NONE
    shapes = {site: (out, run.rank or 0) for site, (out, _) in run.projection.sites.items()}
    active_stages = [i for i, stage in enumerate(run.stages) if stage.retired_after is None]
    claims = [Claim(run.stages[i].task, evidence.cells[i].mask.widened(shapes)) for i in active_stages]
    book = Ledger(shapes, tuple(claims), overlap=evidence.curriculum.masks.overlap == "allow")
    free = int(book.free().count_nonzero())
    expect("the ledger", "the number of free cells", free, run.free_cells)
    if book.overlap:
        return f"{book.cells:,} cells, all free for every task"
    claimed = sum(_mask(run.stages[i]).cells for i in active_stages)
    expect(
        "the ledger", f"{claimed:,} claimed + {free:,} free", claimed + free, run.projection.cells(run.rank)
    )
    return f"{claimed:,} claimed + {free:,} free = {book.cells:,} cells"


def _projector(evidence: Evidence, a: Projection) -> Projector:
    drawn = draw_projections(evidence.sites, a.seed, evidence.curriculum.adapter.distribution)
    return Projector(evidence.sites, evidence.curriculum.adapter, a.seed, drawn)


def _check_mask(evidence: Evidence, a: Projection, position: int) -> None:
    stage, stored = evidence.run.stages[position - 1], evidence.cells[position - 1]
    where, file, record = evidence.at(position), evidence.file_of(stage), _mask(stage)
    dtype = getattr(torch, evidence.curriculum.adapter.kept_in)
    by_site = stored.mask.count_by_site()
    cells = sum(by_site.values())
    density = cells / a.cells()
    # Records from before adapters could grow contain the configured density.
    is_configured = record.density == evidence.curriculum.masks.density
    strategy = IMPORTED if record.strategy == IMPORTED else evidence.curriculum.masks.strategy
    compared = {
        "the strategy": (strategy, record.strategy),
        "the digest of the mask": (stored.mask.digest(), record.digest),
        "the number of cells": (cells, record.cells),
        "the number of cells by site": (by_site, record.by_site),
        "the density": (density, density if is_configured else record.density),
        "the rank": (stored.rank, record.rank or a.rank),
        "the number of directions taken": (_directions(stored.inputs), record.directions or {}),
    }
    for what, (found, recorded) in compared.items():
        expect(where, f"{what} in {file}", found, recorded)
    for site, count in by_site.items():
        values = stored.values.get(site, torch.empty(0, dtype=dtype))
        expect(where, f"(values, type) of {site} in {file}", (len(values), values.dtype), (count, dtype))


def _check_disjoint(evidence: Evidence, position: int) -> None:
    """Check that a mask contains no cell that was not free when it was claimed."""
    own = evidence.cells[position - 1].mask
    for earlier in evidence.run.stages[: position - 1]:
        other = evidence.cells[earlier.position - 1]
        if not evidence.learned[earlier.position - 1].is_active_after(position):
            continue
        both = sum(
            int((own.by_site[s][:, : other.rank] & mask).sum()) for s, mask in other.mask.by_site.items()
        )
        if both:
            stage, owner = evidence.run.stages[position - 1], evidence.at(earlier.position)
            raise VerificationError(
                f"{evidence.at(position)}: {both:,} cells of mask {_mask(stage).digest} in "
                f"{evidence.file_of(stage)} belong to {owner}, mask {_mask(earlier).digest}"
            )


def _directions(inputs: Mapping[tuple[str, ...], torch.Tensor]) -> dict[str, int]:
    return {site: u.shape[1] for sites, u in inputs.items() for site in sites}


def _mask(stage: Stage) -> MaskRecord:
    if stage.mask is None:
        raise VerificationError(
            f"stage {stage.position} {stage.task}: the registry has no mask of this stage"
        )
    return stage.mask
