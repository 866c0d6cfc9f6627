"""Whether A's, masks and the ledger are what the registry says, for a method that claims cells."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lori_cl.adapters import draw_projections, projections_digest
from lori_cl.errors import Untruth
from lori_cl.masks import Claim, Ledger
from lori_cl.methods.lori_imports import IMPORTED
from lori_cl.methods.lori_projections import Projector
from lori_cl.registry import MaskRecord, Projection, Stage
from lori_cl.serving.checks.evidence import Evidence, expect

NONE = "none: this method trains its A, and no task owns cells"


def projections(evidence: Evidence) -> str:
    """Every A that can be drawn again comes out as it was, and every other one is in its file as it was."""
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
        told = evidence.metadata[stage.position - 1]["projection"]
        expect(where, f"the digest of its A's in {evidence.file_of(stage)}", told, found)
        expect(where, "the digest of its A's", found, _mask(stage).projection or found)
        stored += cells.projections is not None
    return f"the A's of {len(run.stages)} stages, {len(run.stages) - stored} drawn again and {stored} stored"


def masks(evidence: Evidence) -> str:
    """Every mask is the one registered, with a value a cell, and none claims a cell that another owned."""
    run = evidence.run
    if run.projection is None:
        for stage in run.stages:
            expect(evidence.at(stage.position), "its mask", None, stage.mask)
        return NONE
    overlap = evidence.curriculum.masks.overlap == "allow"
    for position in range(1, len(run.stages) + 1):
        _check_mask(evidence, run.projection, position)
        if not overlap:
            _check_apart(evidence, position)
    cells = sum(_mask(stage).cells for stage in run.stages)
    apart = "overlapping where it is allowed" if overlap else "each owned by one task at a time"
    return f"{cells:,} cells of {len(run.stages)} tasks, {apart}"


def ledger(evidence: Evidence) -> str:
    """What is claimed and what is free are all cells."""
    run = evidence.run
    if run.projection is None:
        return NONE
    shapes = {site: (out, run.rank or 0) for site, (out, _) in run.projection.sites.items()}
    standing = [i for i, stage in enumerate(run.stages) if stage.retired_after is None]
    claims = [Claim(run.stages[i].task, evidence.cells[i].mask.widened(shapes)) for i in standing]
    book = Ledger(shapes, tuple(claims), overlap=evidence.curriculum.masks.overlap == "allow")
    free = int(book.free().count_nonzero())
    expect("the ledger", "the number of free cells", free, run.free_cells)
    if book.overlap:
        return f"{book.cells:,} cells, all free to every task"
    claimed = sum(_mask(run.stages[i]).cells for i in standing)
    expect(
        "the ledger", f"{claimed:,} claimed + {free:,} free", claimed + free, run.projection.cells(run.rank)
    )
    return f"{claimed:,} claimed + {free:,} free = {book.cells:,} cells"


def _projector(evidence: Evidence, a: Projection) -> Projector:
    drawn = draw_projections(evidence.sites, a.seed, evidence.curriculum.adapter.distribution)
    return Projector(evidence.sites, evidence.curriculum.adapter, a.seed, drawn)


def _check_mask(evidence: Evidence, a: Projection, position: int) -> None:
    stage, held = evidence.run.stages[position - 1], evidence.cells[position - 1]
    where, file, record = evidence.at(position), evidence.file_of(stage), _mask(stage)
    kept_in = getattr(torch, evidence.curriculum.adapter.kept_in)
    by_site = held.mask.count_by_site()
    cells = sum(by_site.values())
    density = cells / a.cells()
    # Records from before adapters could grow hold the density that was asked for.
    asked_for = record.density == evidence.curriculum.masks.density
    strategy = IMPORTED if record.strategy == IMPORTED else evidence.curriculum.masks.strategy
    told = {
        "the strategy": (strategy, record.strategy),
        "the digest of the mask": (held.mask.digest(), record.digest),
        "the number of cells": (cells, record.cells),
        "the number of cells by site": (by_site, record.by_site),
        "the density": (density, density if asked_for else record.density),
        "the rank": (held.rank, record.rank or a.rank),
        "the number of directions taken": (_directions(held.inputs), record.directions or {}),
    }
    for what, (found, recorded) in told.items():
        expect(where, f"{what} in {file}", found, recorded)
    for site, count in by_site.items():
        values = held.values.get(site, torch.empty(0, dtype=kept_in))
        expect(where, f"(values, type) of {site} in {file}", (len(values), values.dtype), (count, kept_in))


def _check_apart(evidence: Evidence, position: int) -> None:
    """That a mask keeps off every cell that was not free when it was claimed."""
    own = evidence.cells[position - 1].mask
    for earlier in evidence.run.stages[: position - 1]:
        other = evidence.cells[earlier.position - 1]
        if not evidence.learned[earlier.position - 1].acts_after(position):
            continue
        both = sum(
            int((own.by_site[s][:, : other.rank] & mask).sum()) for s, mask in other.mask.by_site.items()
        )
        if both:
            stage, owner = evidence.run.stages[position - 1], evidence.at(earlier.position)
            raise Untruth(
                f"{evidence.at(position)}: {both:,} cells of mask {_mask(stage).digest} in "
                f"{evidence.file_of(stage)} belong to {owner}, mask {_mask(earlier).digest}"
            )


def _directions(inputs: Mapping[tuple[str, ...], torch.Tensor]) -> dict[str, int]:
    return {site: u.shape[1] for sites, u in inputs.items() for site in sites}


def _mask(stage: Stage) -> MaskRecord:
    if stage.mask is None:
        raise Untruth(
            f"stage {stage.position} {stage.task}: the registry has no mask of it, and its run has A's"
        )
    return stage.mask
