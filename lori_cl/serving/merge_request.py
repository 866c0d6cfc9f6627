"""A request to merge adapters, and its validation against the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lori_cl.adapters import MergeSettings, check_writable, resolve_settings, resolve_weights
from lori_cl.errors import InputError
from lori_cl.methods import METHODS
from lori_cl.registry import Registry, Run, Task, is_active_after
from lori_cl.task_data.eval_tasks import check_permissions


@dataclass(frozen=True)
class MergeRequest:
    """The adapters to merge, the method, and the output folder."""

    run: str
    tasks: Sequence[str]
    """Tasks of the run, or OTHER_RUN:TASK for tasks of another run."""
    method: str
    out: Path
    """The PEFT folder to write."""
    weights: Sequence[float] | None = None
    """One per task; None means 1 each."""
    settings: MergeSettings = field(default_factory=MergeSettings)
    evaluate: bool = False
    """Score the merged adapter on each of its tasks."""
    allow_code_execution: bool = False
    trust_tasks: bool = False
    """Run the scorer functions of the tasks, without containment, and send answers to their judges."""


@dataclass(frozen=True)
class MergeInput:
    """The adapter of one task."""

    run: Run
    position: int
    """Position of the task in the run, from 0."""
    name: str
    """The task's label; prefixed by the run's name if it is not the run of the request."""

    @property
    def task(self) -> Task:
        """The task, in the version that the run was trained on."""
        return self.run.tasks[self.position]

    @property
    def trained_on_earlier(self) -> bool:
        """Whether it was trained on top of earlier tasks."""
        before = self.run.stages[: self.position]
        stacks = self.run.is_stacked or METHODS.find(self.run.method).overwrites
        return stacks and any(is_active_after(s.retired_after, self.position + 1) for s in before)

    @property
    def contains_earlier(self) -> bool:
        """Whether the merged weights contain those earlier tasks too."""
        return self.trained_on_earlier and METHODS.find(self.run.method).overwrites


def resolve_inputs(registry: Registry, request: MergeRequest) -> list[MergeInput]:
    """Validate a request and return its adapters in order; nothing is loaded.

    Raises: UnknownRun; UnknownTask; InputError, if the request is invalid.
    """
    resolve_settings(request.method, request.settings)
    check_writable(request.out)
    inputs = [_resolve_input(registry, request.run, name) for name in request.tasks]
    if not inputs:
        raise InputError("a merge needs at least one task: --tasks a,b")
    names = [each.name for each in inputs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"'{name}' is named twice; give it a larger weight instead")
    resolve_weights(request.method, len(inputs), request.weights)
    for each in inputs[1:]:
        _check_same_base(inputs[0].run, each.run)
    if request.evaluate:
        check_permissions([each.task for each in inputs], request)
    return inputs


def _resolve_input(registry: Registry, run_name: str, name: str) -> MergeInput:
    other, colon, task = name.rpartition(":")
    run = registry.run(other if colon else run_name)
    position = run.position(task)
    label = run.tasks[position].label
    return MergeInput(run, position, label if run.name == run_name else f"{run.name}:{label}")


def _check_same_base(first: Run, other: Run) -> None:
    if first.base_digest != other.base_digest:
        raise InputError(
            f"run '{first.name}' was trained on {_base(first)} and run '{other.name}' on {_base(other)}: "
            "adapters of different base models cannot be merged; choose runs on one base model (lori-cl runs)"
        )


def _base(run: Run) -> str:
    return f"{run.base_path} in {run.curriculum['model'].get('dtype')} (digest {run.base_digest[:16]}…)"
