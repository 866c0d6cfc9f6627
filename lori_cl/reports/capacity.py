"""The claimed and free cells of an adapter, and how many more tasks fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lori_cl.lori_rules import PROTECTED, cells_to_claim, projection_kind
from lori_cl.registry import Projection, Run, Stage, protected_stages

PROTECTED_TEXTS = "(protected)"
"""In the place of a task: the texts of `adapter.null_space.protect`."""


@dataclass(frozen=True)
class SiteCapacity:
    """The cells of one site."""

    cells: int
    by_task: Mapping[str, int]
    """Cells claimed by each trained task."""
    overlap: bool = False
    """Whether a task may claim cells of another task."""
    inputs: int | None = None
    """Input directions of the site, if the projection excludes some for later tasks; otherwise None."""
    inputs_taken: Mapping[str, int] = field(default_factory=dict)
    """Input directions taken by each task, and by `(protected)`, the texts of the null space. Those of a
    retired task count while a task that was trained under their protection is active."""

    @property
    def inputs_free(self) -> int | None:
        """Input directions available to the next task's A."""
        return None if self.inputs is None else self.inputs - sum(self.inputs_taken.values())

    @property
    def free(self) -> int:
        """Cells available to the next task."""
        return self.cells - (0 if self.overlap else sum(self.by_task.values()))


@dataclass(frozen=True)
class Capacity:
    """Exact counts of the cells of a run's adapter."""

    density: float
    """Fraction of the initial cells that the next task would claim."""
    cells_per_task: int
    """Cells that the next task would claim; 0 if the budget is even and no planned task remains."""
    by_site: Mapping[str, SiteCapacity]
    """By site, in the order of the cell numbers."""
    by_task: Mapping[str, int]
    """Cells claimed by each trained task, in training order."""
    grow: int | None = None
    """Rows of rank that are added when a task has too few free cells; None: none are added."""
    retired: tuple[str, ...] = ()
    """Trained tasks that are retired, so that their cells are free."""
    needs_inputs: int | None = None
    """Free input directions that the next task's A needs at every site; None if none are excluded."""
    takes_needed_inputs: bool = False
    """Whether a task takes exactly the directions it needs; if False, the number is known after training."""

    @property
    def cells(self) -> int:
        """Total cells of the adapter."""
        return sum(site.cells for site in self.by_site.values())

    @property
    def free(self) -> int:
        """Cells available to the next task."""
        return sum(site.free for site in self.by_site.values())

    @property
    def overlap(self) -> bool:
        """Whether a task may claim cells of another task, so that cells never run out."""
        return any(site.overlap for site in self.by_site.values())

    @property
    def excludes_inputs(self) -> bool:
        """Whether later tasks exclude input directions of earlier ones."""
        return any(site.inputs is not None for site in self.by_site.values())

    @property
    def fewest_inputs_free(self) -> tuple[str, int] | None:
        """The site with the fewest free input directions, and their number; None if none are excluded."""
        left = {name: site.inputs_free for name, site in self.by_site.items() if site.inputs_free is not None}
        return min(left.items(), key=lambda item: item[1]) if left else None

    @property
    def more_tasks_by_inputs(self) -> int | None:
        """How many more tasks the free input directions allow; None if they set no known limit."""
        if self.fewest_inputs_free is None or not self.needs_inputs:
            return None
        _, left = self.fewest_inputs_free
        if self.takes_needed_inputs:
            return left // self.needs_inputs
        return None if left >= self.needs_inputs else 0

    @property
    def more_tasks(self) -> int | None:
        """How many more tasks of this density fit; None if there is no limit."""
        by_cells = self.free // self.cells_per_task if self.cells_per_task else 0
        limits = [None if self.overlap else by_cells, self.more_tasks_by_inputs]
        return min((limit for limit in limits if limit is not None), default=None)

    def to_record(self) -> dict[str, Any]:
        """Return the capacity as JSON values."""
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
    """Return the run's capacity; None for a method without masks."""
    if run.projection is None:
        return None
    rank, kind = run.rank or run.projection.rank, projection_kind(run.projection.kind)
    masks = {s.task: s.mask for s in run.stages if s.mask is not None and s.retired_after is None}
    inputs_taken = _inputs_taken(run.projection, run.stages)
    sites = {
        site: SiteCapacity(
            cells=out * rank,
            by_task={task: mask.by_site.get(site, 0) for task, mask in masks.items()},
            overlap=run.may_overlap,
            inputs=in_features if kind.excludes else None,
            # A site that no input of a task reached has no entry.
            inputs_taken={task: by_site.get(site, 0) for task, by_site in inputs_taken.items()},
        )
        for site, (out, in_features) in run.projection.sites.items()
    }
    density, per_task = _budget(run, sum(site.free for site in sites.values()))
    adapter = run.curriculum.get("adapter", {})
    return Capacity(
        density=density,
        cells_per_task=per_task,
        by_site=sites,
        by_task={task: mask.cells for task, mask in masks.items()},
        grow=adapter.get("grow"),
        retired=tuple(stage.task for stage in run.stages if stage.retired_after is not None),
        needs_inputs=kind.directions_needed(rank, (adapter.get("null_space") or {}).get("min_free")),
        takes_needed_inputs=kind.excludes == "rows",
    )


def _inputs_taken(a: Projection, stages: Sequence[Stage]) -> dict[str, Mapping[str, int]]:
    """Return, by task and site, the number of input directions that the next task's A excludes."""
    if projection_kind(a.kind).excludes == "rows":
        masks = {s.task: s.mask for s in stages if s.mask is not None and s.retired_after is None}
        return {task: dict.fromkeys(a.sites, mask.rank or a.rank) for task, mask in masks.items()}
    texts = _directions_of_texts(stages)
    protected = [stages[position] for position in protected_stages([s.retired_after for s in stages])]
    by_task = {s.task: s.mask.directions for s in protected if s.mask is not None and s.mask.directions}
    return {PROTECTED_TEXTS: texts, **by_task} if texts else by_task


def _directions_of_texts(stages: Sequence[Stage]) -> dict[str, int]:
    """Return, by site, the number of input directions that the protected texts take, as recorded first."""
    first = stages[0].mask if stages else None
    counts = first.directions if first is not None and first.directions else {}
    return {key.removeprefix(PROTECTED): n for key, n in counts.items() if key.startswith(PROTECTED)}


def _budget(run: Run, free: int) -> tuple[float, int]:
    """Return what the next task would claim: (fraction of the initial cells, number of cells)."""
    assert run.projection is not None, "a run without a projection has no capacity"
    cells, masks, tasks_left = (
        run.projection.cells(),
        run.curriculum["masks"],
        len(run.tasks) - len(run.stages),
    )
    if masks.get("budget") == "even":
        even = cells_to_claim("even", 0.0, cells, free, tasks_left) if tasks_left else 0
        return even / cells, even
    density = float(masks["density"])
    return density, cells_to_claim("density", density, cells, free, tasks_left)
