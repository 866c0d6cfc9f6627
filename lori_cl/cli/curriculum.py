"""Reading a curriculum file for the commands `run` and `import`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lori_cl.registry import Workspace

if TYPE_CHECKING:
    from lori_cl.spec import CurriculumSpec  # imports pydantic


def read_curriculum(workspace: Workspace, file: Path, settings: Sequence[str]) -> CurriculumSpec:
    """Read a curriculum, apply the overrides, and check that every method, strategy and task is known.

    Raises: SpecError; WorkspaceUnusable.
    """
    from lori_cl.masks import STRATEGIES  # imports torch
    from lori_cl.methods import METHODS
    from lori_cl.spec import load_curriculum

    with workspace.read() as registry:
        registered = {n for task in registry.tasks() for n in (task.name, f"{task.name}@{task.version}")}
    known: dict[str, Collection[str]] = {"method": METHODS, "masks.strategy": STRATEGIES, "tasks": registered}
    return load_curriculum(file, settings, known)
