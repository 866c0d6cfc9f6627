"""Rules of LoRI that code with torch (training) and code without it (reports, the registry) both apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

IMPORTED = "imported"
"""The mask strategy recorded for a stage whose adapter was imported."""


PROTECTED = "protected/"
"""Prefix of a site's name where a stage names or counts directions of the protected texts, not its own."""


@dataclass(frozen=True)
class ProjectionKind:
    """How a task's A is determined, in addition to its seed."""

    per_task: bool
    """Whether every task has its own A."""
    excludes: Literal["rows", "inputs"] | None = None
    """What a new A is orthogonal to: the rows of earlier A's, or input directions of earlier tasks."""

    @property
    def gathers_inputs(self) -> bool:
        """Whether every stage gathers and stores the directions of its inputs."""
        return self.excludes == "inputs"

    @property
    def stored(self) -> bool:
        """Whether A depends on more than its seed, so that it is stored instead of drawn again."""
        return self.excludes is not None

    def directions_needed(self, rank: int, min_free: int | None) -> int | None:
        """Return the free input directions that a new A needs at every site; None if it excludes nothing."""
        if self.excludes is None:
            return None
        return (min_free if self.gathers_inputs else None) or rank


PROJECTIONS: Mapping[str, ProjectionKind] = {
    "shared": ProjectionKind(per_task=False),
    "per-task": ProjectionKind(per_task=True),
    "orthogonal": ProjectionKind(per_task=True, excludes="rows"),
    "null-space": ProjectionKind(per_task=True, excludes="inputs"),
}
"""Kinds of projection. To add one, add it here and in `lori_cl/spec/curriculum.py`."""


def projection_kind(name: str) -> ProjectionKind:
    """Return the recorded kind; a kind that this version does not know is assumed to exclude nothing."""
    return PROJECTIONS.get(name, ProjectionKind(per_task=True))


def may_overlap(overlap: str | None) -> bool:
    """Whether a task may claim cells of another task, given `masks.overlap`."""
    return overlap == "allow"


def cell_budget(density: float, cells: int) -> int:
    """Return the number of cells of one task: round(density · cells), at least 1."""
    return max(1, round(density * cells))


def cells_to_claim(budget: str | None, density: float, cells: int, free: int, tasks_left: int) -> int:
    """Return the cells that the next task claims, at least 1.

    `budget` is `masks.budget`: `density` claims the fraction `density` of the adapter's initial `cells`;
    `even` divides the `free` cells among the `tasks_left`, the next one included.
    """
    if budget == "even":
        return max(1, free // tasks_left)
    return cell_budget(density, cells)
