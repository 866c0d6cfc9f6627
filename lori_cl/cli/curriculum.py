"""A curriculum as the commands that learn one read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lori_cl.registry import Workspace

if TYPE_CHECKING:
    from lori_cl.spec import CurriculumSpec  # pydantic comes with the room


def read_curriculum(workspace: Workspace, file: Path, settings: Sequence[str]) -> CurriculumSpec:
    """The curriculum with its settings laid over it; it names nothing that nobody knows.

    Raises: SpecError; WorkspaceUnusable.
    """
    from lori_cl.masks import STRATEGIES  # torch comes with these
    from lori_cl.methods import METHODS
    from lori_cl.spec import load_curriculum

    with workspace.read() as registry:
        registered = {n for task in registry.tasks() for n in (task.name, f"{task.name}@{task.version}")}
    known = {"method": METHODS, "masks.strategy": STRATEGIES, "tasks": registered}
    return load_curriculum(file, settings, known)
