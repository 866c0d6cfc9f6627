"""The ledger: which task owns which cells, and which cells are free."""

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
    """The cells claimed by one task."""

    task: str
    mask: Mask


@dataclass(frozen=True)
class Ledger:
    """All claims on one adapter. The ledger is immutable: a claim creates a new ledger."""

    shapes: Shapes
    claims: tuple[Claim, ...] = ()
    overlap: bool = False
    """Whether a cell may be claimed again, so that all cells are always free."""

    @property
    def rank(self) -> int:
        """Number of columns of B."""
        return next(iter(self.shapes.values()))[1]

    @property
    def cells(self) -> int:
        """Total number of cells of the adapter."""
        return sum(out * rank for out, rank in self.shapes.values())

    @property
    def free_cells(self) -> int:
        """Number of cells that may be claimed."""
        return self.cells - (0 if self.overlap else sum(claim.mask.count() for claim in self.claims))

    def free(self) -> Bool[Tensor, "cells"]:
        """Return which cells of the whole model may be claimed."""
        free = torch.ones(self.cells, dtype=torch.bool)
        for claim in () if self.overlap else self.claims:
            free &= ~claim.mask.flat()
        return free

    def require(self, task: str, k: int) -> None:
        """Check that k cells are free for the task. Raises: CapacityExhausted."""
        trained = len(self.claims)
        require_free(task, k, self.free_cells, self.cells, tasks=trained + 1, trained=trained)

    def claim(self, task: str, mask: Mask) -> Ledger:
        """Return a ledger with the task's claim added."""
        assert not bool((mask.flat() & ~self.free()).any()), f"'{task}' claims cells that are not free"
        return replace(self, claims=(*self.claims, Claim(task, mask)))

    def grown(self, rows: int) -> Ledger:
        """Return the ledger of the adapter with `rows` more rank; every claim keeps its cells."""
        shapes = {site: (out, rank + rows) for site, (out, rank) in self.shapes.items()}
        claims = tuple(Claim(claim.task, claim.mask.widened(shapes)) for claim in self.claims)
        return replace(self, shapes=shapes, claims=claims)


def require_free(
    task: str, k: int, free: int, cells: int, tasks: int, *, trained: int = 0, even: bool = False
) -> None:
    """Check that k of the cells are free for the task, in a run of `tasks` tasks.

    `trained` tasks own cells that can be freed. `even` means `masks.budget: even`.
    Raises: CapacityExhausted, with the number needed, the number free and what to do.
    """
    if k > free:
        retire = " Or free the cells of a trained task: lori-cl retire-task RUN TASK." if trained else ""
        raise CapacityExhausted(
            f"task '{task}' needs {k:,} cells; {free:,} of {cells:,} are free. "
            f"{_more_room_even(tasks, cells) if even else _more_room(tasks, cells)}{retire}"
        )


def require_free_after_import(task: str, k: int, free: int, imported: Ledger, tasks: int) -> None:
    """Check that k of the cells are free for the task, with `tasks` tasks to train after an imported adapter.

    `imported` is the ledger with the claim of the imported adapter.
    Raises: CapacityExhausted, with the number needed, the number free and what to do.
    """
    if k > free:
        cells, left = imported.cells, imported.free_cells
        grow = "adapter.grow, which adds rows when cells run out, with masks.budget: density"
        density = (
            f"masks.density to at most {_density_for(tasks, cells, left):g}, or " if left >= tasks else ""
        )
        raise CapacityExhausted(
            f"task '{task}' needs {k:,} cells; {free:,} of {cells:,} are free, since the imported adapter "
            f"uses {cells - left:,}. Set {density}{grow}."
        )


def _more_room(tasks: int, cells: int) -> str:
    density = _density_for(tasks, cells, cells)
    return (
        f"Start a new run with masks.density at most {density:g} for {tasks} tasks, with fewer tasks, or "
        "with adapter.grow, which adds rows when cells run out."
    )


def _more_room_even(tasks: int, cells: int) -> str:
    if tasks > cells:
        return f"Start a new run with a higher adapter.rank, or with fewer than {tasks:,} tasks."
    return f"Start a new run with all {tasks} tasks; masks.budget: even then divides the cells among them."


def _density_for(tasks: int, cells: int, free: int) -> float:
    """Return a density with few digits at which `tasks` tasks fit into the free cells.

    The exact even share could round up to one cell too many for each task.
    """
    rounded = int(1000 * free / cells / tasks) / 1000
    if rounded and tasks * round(rounded * cells) <= free:
        return rounded
    share = max(1, free // tasks) / cells
    unit = 10.0 ** (2 - math.floor(math.log10(share)))
    return math.floor(share * unit) / unit
