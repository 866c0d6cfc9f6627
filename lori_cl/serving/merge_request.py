"""What a merge is asked for, checked as far as the registry alone can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lori_cl.adapters import MergeSettings, check_writable, settled_settings, settled_weights
from lori_cl.errors import InputError
from lori_cl.methods import METHODS
from lori_cl.registry import Registry, Run, Task, acts_after
from lori_cl.training.preparation import check_code_execution


@dataclass(frozen=True)
class MergeRequest:
    """Which adapters become one, how, and where it is written."""

    run: str
    tasks: Sequence[str]
    """Tasks of the run, or OTHER_RUN:TASK."""
    method: str
    out: Path
    """The PEFT folder to be made."""
    weights: Sequence[float] | None = None
    """One a task; None means 1 each."""
    settings: MergeSettings = field(default_factory=MergeSettings)
    evaluate: bool = False
    """Score the merged adapter on every task in it."""
    allow_code_execution: bool = False


@dataclass(frozen=True)
class Choice:
    """One task's adapter."""

    run: Run
    position: int
    """Of the task among the run's, from 0."""
    shown: str
    """The task's label, with its run's name where that is another one."""

    @property
    def task(self) -> Task:
        """The task at the version that the run learned."""
        return self.run.tasks[self.position]

    @property
    def carries_earlier(self) -> bool:
        """Whether it was trained on top of earlier tasks."""
        before = self.run.stages[: self.position]
        stacks = self.run.stacks or METHODS[self.run.method].overwrites
        return stacks and any(acts_after(s.retired_after, self.position + 1) for s in before)

    @property
    def holds_earlier(self) -> bool:
        """Whether what it is merged by holds those, too."""
        return self.carries_earlier and METHODS[self.run.method].overwrites


def choose(registry: Registry, request: MergeRequest) -> list[Choice]:
    """The adapters that are asked for, in order; nothing is loaded.

    Raises: UnknownRun; UnknownTask; InputError, if the request cannot be met.
    """
    settled_settings(request.method, request.settings)
    check_writable(request.out)
    choices = [_choice(registry, request.run, name) for name in request.tasks]
    if not choices:
        raise InputError("a merge needs at least one task: --tasks a,b")
    shown = [choice.shown for choice in choices]
    for name in shown:
        if shown.count(name) > 1:
            raise InputError(f"'{name}' is named twice; give it a larger weight instead")
    settled_weights(request.method, len(choices), request.weights)
    for choice in choices[1:]:
        _check_same_base(choices[0].run, choice.run)
    if request.evaluate:
        check_code_execution([choice.task for choice in choices], request.allow_code_execution)
    return choices


def _choice(registry: Registry, run_name: str, name: str) -> Choice:
    other, colon, task = name.rpartition(":")
    run = registry.run(other if colon else run_name)
    position = run.position(task)
    label = run.tasks[position].label
    return Choice(run, position, label if run.name == run_name else f"{run.name}:{label}")


def _check_same_base(first: Run, other: Run) -> None:
    if first.base_digest != other.base_digest:
        raise InputError(
            f"run '{first.name}' learned on {_base(first)} and run '{other.name}' on {_base(other)}, and "
            "adapters of different base models cannot be merged; name runs on one, see lori-cl runs"
        )


def _base(run: Run) -> str:
    return f"{run.base_path} in {run.curriculum['model'].get('dtype')} (digest {run.base_digest[:16]}…)"
