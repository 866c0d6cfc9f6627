"""How much of an adapter is claimed, and how many more tasks fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lori_cl.registry import Run


@dataclass(frozen=True)
class SiteCapacity:
    """The cells of one site."""

    cells: int
    by_task: Mapping[str, int]
    """Cells claimed by each task learned so far."""
    overlap: bool = False
    """Whether a task may claim cells that another one owns."""

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
    """That many: at least one, as masks are allocated."""
    by_site: Mapping[str, SiteCapacity]
    """In the order that numbers the cells."""
    by_task: Mapping[str, int]
    """Cells claimed by each task learned so far, in the order of learning."""

    @property
    def cells(self) -> int:
        """All cells of the adapter."""
        return sum(site.cells for site in self.by_site.values())

    @property
    def free(self) -> int:
        """Cells that the next task may claim."""
        return sum(site.free for site in self.by_site.values())

    @property
    def more_tasks(self) -> int:
        """How many more tasks of that density fit."""
        return self.free // self.cells_per_task

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "cells": self.cells,
            "free": self.free,
            "by_task": dict(self.by_task),
            "by_site": {
                name: {"cells": site.cells, "free": site.free, "by_task": dict(site.by_task)}
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
    rank = run.rank or run.projection.rank
    masks = {stage.task: stage.mask for stage in run.stages if stage.mask is not None}
    sites = {
        site: SiteCapacity(
            cells=out * rank,
            by_task={task: mask.by_site.get(site, 0) for task, mask in masks.items()},
            overlap=run.curriculum["masks"].get("overlap") == "allow",
        )
        for site, (out, _) in run.projection.sites.items()
    }
    density = float(run.curriculum["masks"]["density"])
    return Capacity(
        density=density,
        cells_per_task=max(1, round(density * run.projection.cells())),
        by_site=sites,
        by_task={task: mask.cells for task, mask in masks.items()},
    )
