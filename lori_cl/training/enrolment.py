"""Adding tasks: validate, materialise the eval set, register."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lori_cl.registry import Declaration, Registry, Task, Workspace
from lori_cl.spec import TaskSpec, load_task, task_from_record
from lori_cl.tasks import check_answers, eval_set_warnings, near_duplicates_line, read_task, to_jsonl


@dataclass(frozen=True)
class Enrolled:
    """What became of one task file."""

    task: Task
    is_new: bool
    """False where the same content was registered before."""
    warnings: Sequence[str] = ()
    """What makes its scores say less than they seem to."""


def enrol(workspace: Workspace, files: Sequence[Path]) -> list[Enrolled]:
    """Register the tasks of these files, in order: all of them, or none where one is wrong.

    Raises: SpecError, DataError or WorkspaceUnusable.
    """
    with workspace.open() as registry:
        ready, warned = [], []
        for file in files:
            spec = load_task(file)
            data = read_task(spec, file.parent)
            near = near_duplicates_line(spec, data.train, data.held_out)
            warned.append(
                [
                    *check_answers(spec, data.held_out),
                    *eval_set_warnings(spec, data.held_out),
                    *([near] if near else []),
                ]
            )
            spec, examples = spec.model_copy(update={"skipped": data.skipped}), data.held_out
            ready.append((spec, to_jsonl(examples), len(examples), workspace.relative(file.parent)))
        declarations = [
            Declaration(
                _record(registry, spec),
                (workspace.artifacts.put(content, "jsonl"), n, len(content)),
                declared_in,
            )
            for spec, content, n, declared_in in ready
        ]
        added = registry.add_tasks(declarations)
        return [
            Enrolled(task, is_new, warnings) for (task, is_new), warnings in zip(added, warned, strict=True)
        ]


def _record(registry: Registry, spec: TaskSpec) -> Mapping[str, Any]:
    """The declaration as it is registered already, where that says the same.

    A record from before a field was added lacks it, and means its default: that is no new version.
    """
    newest = registry.find_task(spec.name)
    if newest is not None and newest.kind == spec.kind and task_from_record(newest.spec) == spec:
        return newest.spec
    return spec.to_record()
