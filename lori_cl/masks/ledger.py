"""The ledger: who owns which cell, and what is free."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from lori_cl.errors import CapacityExhausted
from lori_cl.masks.mask import Mask, Shapes


@dataclass(frozen=True)
class Claim:
    """One task's cells."""

    task: str
    mask: Mask


@dataclass(frozen=True)
class Ledger:
    """All claims on one adapter; a claim makes a new ledger, so none is ever taken back."""

    shapes: Shapes
    claims: tuple[Claim, ...] = ()
    overlap: bool = False
    """Whether a cell may be claimed again, so that all are always free."""

    @property
    def rank(self) -> int:
        """Columns of B."""
        return next(iter(self.shapes.values()))[1]

    @property
    def cells(self) -> int:
        """All cells of the adapter."""
        return sum(out * rank for out, rank in self.shapes.values())

    @property
    def free_cells(self) -> int:
        """Cells that may be claimed."""
        return self.cells - (0 if self.overlap else sum(claim.mask.count() for claim in self.claims))

    def free(self) -> Bool[Tensor, "cells"]:
        """Which cells may be claimed, over the whole model."""
        free = torch.ones(self.cells, dtype=torch.bool)
        for claim in () if self.overlap else self.claims:
            free &= ~claim.mask.flat()
        return free

    def require(self, task: str, k: int) -> None:
        """Make sure that k cells are free for the task; Raises: CapacityExhausted."""
        learned = len(self.claims)
        require_free(task, k, self.free_cells, self.cells, tasks=learned + 1, learned=learned)

    def claim(self, task: str, mask: Mask) -> Ledger:
        """The ledger with the task's cells in it."""
        assert not bool((mask.flat() & ~self.free()).any()), f"'{task}' claims cells that are taken"
        return replace(self, claims=(*self.claims, Claim(task, mask)))

    def grown(self, rows: int) -> Ledger:
        """The ledger of an adapter with so many more rows of rank; every claim keeps its cells."""
        shapes = {site: (out, rank + rows) for site, (out, rank) in self.shapes.items()}
        claims = tuple(Claim(claim.task, claim.mask.widened(shapes)) for claim in self.claims)
        return replace(self, shapes=shapes, claims=claims)


def require_free(
    task: str, k: int, free: int, cells: int, tasks: int, *, learned: int = 0, even: bool = False
) -> None:
    """Make sure that k of the cells are free for the task, of a run of so many `tasks`.

    `learned` of them own cells that can be freed; with `even`, `masks.budget` is that.
    Raises: CapacityExhausted, with what was asked, what is free and what to do.
    """
    if k > free:
        retire = " Or free learned tasks' cells: lori-cl retire-task RUN TASK." if learned else ""
        raise CapacityExhausted(
            f"task '{task}' asks for {k:,} cells; {free:,} of {cells:,} are free. "
            f"{_more_room_even(tasks, cells) if even else _more_room(tasks, cells)}{retire}"
        )


def require_free_beside(task: str, k: int, free: int, imported: Ledger, tasks: int) -> None:
    """Make sure that k of the cells are free for the task, of so many `tasks` beside an adapter that claims
    its own in `imported`.

    Raises: CapacityExhausted, with what was asked, what is free and what to do.
    """
    if k > free:
        cells, left = imported.cells, imported.free_cells
        grow = "adapter.grow, which adds rows where cells run out, with masks.budget: density"
        density = f"masks.density at most {_density_for(tasks, cells, left):g}, or " if left >= tasks else ""
        raise CapacityExhausted(
            f"task '{task}' asks for {k:,} cells; {free:,} of {cells:,} are free, since the adapter fills "
            f"{cells - left:,}. Set {density}{grow}."
        )


def _more_room(tasks: int, cells: int) -> str:
    density = _density_for(tasks, cells, cells)
    return (
        f"Begin a new run with masks.density at most {density:g} for {tasks} tasks, with fewer tasks, or "
        "with adapter.grow, which adds rows where cells run out."
    )


def _more_room_even(tasks: int, cells: int) -> str:
    if tasks > cells:
        return f"Begin a new run with a higher adapter.rank, or with fewer than {tasks:,} tasks."
    return f"Begin a new run with all {tasks} tasks, among which masks.budget: even then divides the cells."


def _density_for(tasks: int, cells: int, free: int) -> float:
    """A short density at which so many tasks fit into what is free: their even share can round up to a cell
    too many for each."""
    plain = int(1000 * free / cells / tasks) / 1000
    if plain and tasks * round(plain * cells) <= free:
        return plain
    share = max(1, free // tasks) / cells
    unit = 10.0 ** (2 - math.floor(math.log10(share)))
    return math.floor(share * unit) / unit
