"""Preview the sites of a base model that tasks would adapt; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lori_cl.adapters import describe_sites, select_sites
from lori_cl.errors import ModelError, TargetError
from lori_cl.spec import ModelSpec, load_task
from lori_cl.tasks import kind_of
from lori_cl.training.base_model import load_base


def preview_sites(files: Sequence[Path], model: str) -> list[str]:
    """Return lines that say which sites `adapter.targets: all-linear` adapts, for the tasks in these files.

    For a task type that the model does not support, a line states the reason.

    Raises: SpecError.
    """
    lines: list[str] = []
    for architecture in dict.fromkeys(kind_of(load_task(file)).architecture for file in files):
        try:
            base = load_base(ModelSpec(path=model), architecture)
            lines += describe_sites(select_sites(base.model, "all-linear"))
            lines.append(f"the model reads up to {base.context:,} tokens")
        except (ModelError, TargetError) as error:
            lines.append(f"as {architecture}: {error}")
    return lines
