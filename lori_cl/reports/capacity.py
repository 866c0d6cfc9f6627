"""How much of an adapter is claimed, and how many more tasks fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lori_cl.registry import Projection, Run, Stage, still_kept

ORTHOGONAL = "orthogonal"
KEEP_OUT = ("null-space", ORTHOGONAL)
"""Projections whose A's keep out of directions that earlier ones take."""


@dataclass(frozen=True)
class SiteCapacity:
    """The cells of one site."""

    cells: int
    by_task: Mapping[str, int]
    """Cells claimed by each task learned so far."""
    overlap: bool = False
    """Whether a task may claim cells that another one owns."""
    inputs: int | None = None
    """Input directions of the site, for a projection that keeps later tasks out of some."""
    inputs_taken: Mapping[str, int] = field(default_factory=dict)
    """Of these, the ones that each task took; a retired one's, while a task stands that was learned beside
    them."""

    @property
    def inputs_free(self) -> int | None:
        """Input directions that the next task's A may read."""
        return None if self.inputs is None else self.inputs - sum(self.inputs_taken.values())

    @property
    def free(self) -> int:
        """Cells that the next task may claim."""
        return self.cells - (0 if self.overlap else sum(self.by_task.values()))


@dataclass(frozen=True)
class Capacity:
    """The cells of a run's adapter, exactly counted."""

    density: float
    """Fraction of the cells that the adapter began with which the next task would claim."""
    cells_per_task: int
    """That many; 0 where the cells are divided evenly and every planned task has its own."""
    by_site: Mapping[str, SiteCapacity]
    """In the order that numbers the cells."""
    by_task: Mapping[str, int]
    """Cells claimed by each task learned so far, in the order of learning."""
    grow: int | None = None
    """Rows of rank that are added whenever a task finds too few free cells; None never."""
    retired: tuple[str, ...] = ()
    """Tasks learned whose cells are free again."""
    needs_inputs: int | None = None
    """Free input directions that the next task's A needs at every site; None where it is drawn freely."""
    takes_as_many: bool = False
    """Whether a task takes just as many as it needs; or else what it takes is known once it is learned."""

    @property
    def cells(self) -> int:
        """All cells of the adapter."""
        return sum(site.cells for site in self.by_site.values())

    @property
    def free(self) -> int:
        """Cells that the next task may claim."""
        return sum(site.free for site in self.by_site.values())

    @property
    def overlap(self) -> bool:
        """Whether a task may claim cells that another one owns, so that they never run out."""
        return any(site.overlap for site in self.by_site.values())

    @property
    def keeps_inputs(self) -> bool:
        """Whether sites have input directions that later tasks keep out of."""
        return any(site.inputs is not None for site in self.by_site.values())

    @property
    def scarcest(self) -> tuple[str, int] | None:
        """The site with the fewest free input directions, and how many; None where A's are drawn freely."""
        left = {name: site.inputs_free for name, site in self.by_site.items() if site.inputs_free is not None}
        return min(left.items(), key=lambda item: item[1]) if left else None

    @property
    def more_by_inputs(self) -> int | None:
        """How many more tasks find the input directions that they need; None where that sets no limit yet."""
        if self.scarcest is None or not self.needs_inputs:
            return None
        _, left = self.scarcest
        if self.takes_as_many:
            return left // self.needs_inputs
        return None if left >= self.needs_inputs else 0

    @property
    def more_tasks(self) -> int | None:
        """How many more tasks of that density fit; None where nothing sets a limit."""
        by_cells = self.free // self.cells_per_task if self.cells_per_task else 0
        limits = [None if self.overlap else by_cells, self.more_by_inputs]
        return min((limit for limit in limits if limit is not None), default=None)

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "cells": self.cells,
            "free": self.free,
            "by_task": dict(self.by_task),
            "by_site": {
                name: {
                    "cells": site.cells,
                    "free": site.free,
                    "by_task": dict(site.by_task),
                    "inputs": site.inputs,
                    "inputs_free": site.inputs_free,
                    "inputs_taken": dict(site.inputs_taken),
                }
                for name, site in self.by_site.items()
            },
            "density": self.density,
            "cells_per_task": self.cells_per_task,
            "more_tasks": self.more_tasks,
        }


def capacity_of(run: Run) -> Capacity | None:
    """The run's capacity; None where every stage overwrites the whole adapter, so nothing is claimed."""
    if run.projection is None:
        return None
    rank, kind = run.rank or run.projection.rank, run.projection.kind
    overlap = run.curriculum["masks"].get("overlap") == "allow"
    masks = {s.task: s.mask for s in run.stages if s.mask is not None and s.retired_after is None}
    taken = _inputs_taken(run.projection, run.stages)
    sites = {
        site: SiteCapacity(
            cells=out * rank,
            by_task={task: mask.by_site.get(site, 0) for task, mask in masks.items()},
            overlap=overlap,
            inputs=in_features if kind in KEEP_OUT else None,
            # A site that no input of a task reached has no entry.
            inputs_taken={task: of.get(site, 0) for task, of in taken.items()},
        )
        for site, (out, in_features) in run.projection.sites.items()
    }
    density, per_task = _budget(run, sum(site.free for site in sites.values()))
    return Capacity(
        density=density,
        cells_per_task=per_task,
        by_site=sites,
        by_task={task: mask.cells for task, mask in masks.items()},
        grow=run.curriculum.get("adapter", {}).get("grow"),
        retired=tuple(stage.task for stage in run.stages if stage.retired_after is not None),
        needs_inputs=_needs_inputs(run, rank),
        takes_as_many=kind == ORTHOGONAL,
    )


def _inputs_taken(a: Projection, stages: Sequence[Stage]) -> dict[str, Mapping[str, int]]:
    """By task and site, the input directions that the next task's A keeps out of."""
    if a.kind == ORTHOGONAL:
        masks = {s.task: s.mask for s in stages if s.mask is not None and s.retired_after is None}
        return {task: dict.fromkeys(a.sites, mask.rank or a.rank) for task, mask in masks.items()}
    feeding = [stages[position] for position in still_kept([s.retired_after for s in stages])]
    return {s.task: s.mask.directions for s in feeding if s.mask is not None and s.mask.directions}


def _needs_inputs(run: Run, rank: int) -> int | None:
    if run.projection is None or run.projection.kind not in KEEP_OUT:
        return None
    return (run.curriculum.get("adapter", {}).get("null_space") or {}).get("min_free") or rank


def _budget(run: Run, free: int) -> tuple[float, int]:
    """What the next task would claim: (fraction of the cells that the adapter began with, cells)."""
    assert run.projection is not None, "a run that claims nothing has no capacity"
    cells, masks = run.projection.cells(), run.curriculum["masks"]
    if masks.get("budget") == "even":
        tasks_left = len(run.tasks) - len(run.stages)
        even = free // tasks_left if tasks_left else 0
        return even / cells, even
    density = float(masks["density"])
    return density, max(1, round(density * cells))
