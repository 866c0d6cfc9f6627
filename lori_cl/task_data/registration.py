"""Register tasks: validate them, store their eval sets and add them to the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lori_cl.errors import DataError
from lori_cl.registry import Declaration, Registry, Task, Workspace
from lori_cl.registry.workspace import ARTIFACTS
from lori_cl.spec import TaskSpec, load_task, task_from_record
from lori_cl.spec.in_memory import InMemoryTask
from lori_cl.spec.task import WRITTEN_BY_ADD_TASK
from lori_cl.tasks import (
    TaskData,
    check_answers,
    eval_set_warnings,
    freeze_scorer,
    near_duplicates_line,
    read_task,
    to_jsonl,
)


@dataclass(frozen=True)
class RegisteredTask:
    """Result of registering one task file."""

    task: Task
    is_new: bool
    """False if the same content was already registered."""
    warnings: Sequence[str] = ()
    """Problems that make the task's scores less meaningful."""
    inferred: str | None = None
    """A message about the label set if it was inferred from the data."""


def register_tasks(workspace: Workspace, tasks: Sequence[Path | InMemoryTask]) -> list[RegisteredTask]:
    """Register tasks from files or with data in memory, in order: all of them, or none if one is invalid.

    Raises: SpecError, DataError or WorkspaceUnusable.
    """
    with workspace.open() as registry:
        checked = [_check_in_memory(t) if isinstance(t, InMemoryTask) else _check_file(t) for t in tasks]
        declarations = [_declaration(workspace, registry, each) for each in checked]
        added = registry.add_tasks(declarations)
        return [
            RegisteredTask(task, is_new, each.warnings, each.data.inferred)
            for (task, is_new), each in zip(added, checked, strict=True)
        ]


@dataclass(frozen=True)
class _CheckedTask:
    """A valid task that is not stored yet."""

    spec: TaskSpec
    data: TaskData
    warnings: Sequence[str]
    source: Path | InMemoryTask
    """Its file, or the task with its rows."""


def _check_file(file: Path) -> _CheckedTask:
    spec = load_task(file)
    return _check(spec, file.parent, file)


def _check_in_memory(task: InMemoryTask) -> _CheckedTask:
    """Read the rows as if they were files, so that both kinds of tasks have the same checks.

    Raises: SpecError; DataError, which names the task, its split and the line.
    """
    with tempfile.TemporaryDirectory() as folder:
        for split, content in zip(("train", "test"), _contents(task), strict=False):
            (Path(folder) / f"{split}.jsonl").write_bytes(content)
        try:
            # A scorer file is relative to the current folder: a task in memory has no file.
            spec = freeze_scorer(task.spec("train", "test"), Path())
            return _check(spec, Path(folder), task)
        except DataError as error:
            raise DataError(str(error).replace(folder, task.name)) from None


def _contents(task: InMemoryTask) -> list[bytes]:
    """Return the training rows, and the eval rows unless they are a fraction of the training rows."""
    return [content for content in (task.train, task.eval) if content is not None]


def _check(spec: TaskSpec, folder: Path, source: Path | InMemoryTask) -> _CheckedTask:
    data = read_task(spec, folder)
    spec = data.task
    near = near_duplicates_line(spec, data.train, data.held_out)
    warnings = [
        *check_answers(spec, data.held_out),
        *eval_set_warnings(spec, data.held_out),
        *([near] if near else []),
    ]
    return _CheckedTask(spec.model_copy(update={"skipped": data.skipped}), data, warnings, source)


def _declaration(workspace: Workspace, registry: Registry, task: _CheckedTask) -> Declaration:
    """Write the eval set, and the rows of a task with data in memory, as artifacts."""
    spec, files = task.spec, {}
    if isinstance(task.source, InMemoryTask):
        contents = _contents(task.source)
        digests = [workspace.artifacts.put(content, "jsonl") for content in contents]
        files = dict(zip(digests, map(len, contents), strict=True))
        written = {field: getattr(spec, field) for field in WRITTEN_BY_ADD_TASK if hasattr(spec, field)}
        spec = task.source.spec(*digests).model_copy(update=written)
    declared_in = ARTIFACTS if files else workspace.relative(task.source.parent)  # type: ignore[union-attr]
    content = to_jsonl(task.data.held_out)
    eval_set = (workspace.artifacts.put(content, "jsonl"), len(task.data.held_out), len(content))
    return Declaration(_record(registry, spec), eval_set, declared_in, files)


def _record(registry: Registry, spec: TaskSpec) -> Mapping[str, Any]:
    """Return the registered declaration if it equals the spec, otherwise the spec's record.

    A record older than a field lacks that field and means its default, so it is not a new version.
    """
    newest = registry.find_task(spec.name)
    if newest is not None and newest.kind == spec.kind and task_from_record(newest.spec) == spec:
        return newest.spec
    return spec.to_record()
