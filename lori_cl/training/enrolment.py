"""Adding tasks: validate, materialise the eval set, register."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lori_cl.registry import Declaration, Task, Workspace
from lori_cl.spec import load_task
from lori_cl.tasks import eval_examples, to_jsonl


@dataclass(frozen=True)
class Enrolled:
    """What became of one task file."""

    task: Task
    is_new: bool
    """False where the same content was registered before."""


def enrol(workspace: Workspace, files: Sequence[Path]) -> list[Enrolled]:
    """Register the tasks of these files, in order: all of them, or none where one is wrong.

    Raises: SpecError, DataError or WorkspaceUnusable.
    """
    with workspace.open() as registry:
        ready = []
        for file in files:
            spec = load_task(file)
            examples = eval_examples(spec, file.parent)
            ready.append((spec, to_jsonl(examples), len(examples), workspace.relative(file.parent)))
        declarations = [
            Declaration(
                spec.to_record(), (workspace.artifacts.put(content, "jsonl"), n, len(content)), declared_in
            )
            for spec, content, n, declared_in in ready
        ]
        return [Enrolled(task, is_new) for task, is_new in registry.add_tasks(declarations)]
