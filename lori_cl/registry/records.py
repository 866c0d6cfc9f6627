"""Frozen values that the registry returns, independent of sessions and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from lori_cl.errors import UnknownTask, suggestion
from lori_cl.lori_rules import may_overlap

Source = Literal["measured", "cached"]

EARLIER_CACHED = "proved"
"""The word for `cached` in files of earlier versions, and in stage records, whose digests must not change."""


@dataclass(frozen=True)
class EvalSet:
    """The examples that a task is scored on, frozen when the task was added."""

    digest: str
    """SHA-256 of the artifact that contains them."""
    n: int
    """Number of examples."""


@dataclass(frozen=True)
class Task:
    """A registered version of a task."""

    name: str
    version: int
    kind: str
    metric: str
    seed: int
    spec: Mapping[str, Any]
    """The declaration, written by `TaskSpec.to_record`."""
    eval_set: EvalSet
    declared_in: str
    """Folder of its task file: relative if it is inside the workspace, otherwise absolute."""
    created_at: datetime

    @property
    def skipped(self) -> list[str]:
        """Messages about the invalid rows that were skipped when it was added, one per split."""
        from lori_cl.spec.task import SkippedRows  # imports pydantic, which reports do not need

        return [SkippedRows.model_validate(each).words() for each in self.spec.get("skipped", ())]

    @property
    def label(self) -> str:
        """'name' for the first version, 'name@2' for the second."""
        return task_label(self.name, self.version)


def task_label(name: str, version: int) -> str:
    """'name' for the first version, 'name@2' for the second."""
    return name if version == 1 else f"{name}@{version}"


@dataclass(frozen=True)
class Projection:
    """A run's frozen projections A."""

    kind: str
    distribution: str
    seed: int
    rank: int
    digest: str | None
    """SHA-256 of the shared A's; None if every stage has its own."""
    sites: Mapping[str, tuple[int, int]]
    """(d_out, d_in) of each site, in the order in which cells are numbered."""

    def cells(self, rank: int | None = None) -> int:
        """Return the number of cells of the adapter, at its initial rank or at a larger one."""
        return sum(out for out, _ in self.sites.values()) * (rank or self.rank)


@dataclass(frozen=True)
class MaskRecord:
    """Counts of a task's cells."""

    strategy: str
    density: float
    """Fraction of the cells that the adapter had at its initial rank."""
    cells: int
    digest: str
    by_site: Mapping[str, int]
    rank: int | None = None
    """Rank of the adapter at that stage; None in records of versions whose adapters could not grow."""
    projection: str | None = None
    """Digest of the projections A in training; None in records of versions without a projection per task."""
    directions: Mapping[str, int] | None = None
    """Number of input directions that the task claims per site; projections of later tasks exclude them.
    In a run's first stage, entries with the prefix `protected/` count those of the protected texts."""


@dataclass(frozen=True)
class Stage:
    """A committed stage."""

    position: int
    """Starts at 1."""
    task: str
    """The task's label."""
    artifact: str
    """Digest of the stage's tensors."""
    parent: str | None
    """The artifact of the previous stage."""
    mask: MaskRecord | None
    """None for methods without masks."""
    train_digest: str
    """SHA-256 of the training examples."""
    n_train: int
    n_truncated: int
    """Training examples longer than `train.max_length`."""
    steps: int
    """Optimizer steps, without calibration."""
    final_loss: float
    """Mean training loss of the stage."""
    elapsed_s: float
    """From the start of the stage to its commit, including scoring."""
    train_s: float
    """Training only, including calibration."""
    peak_memory_bytes: int
    """Peak of the process up to then: memory of the device, or resident memory without a device."""
    seeds: Mapping[str, int]
    committed_at: datetime | None = None
    retired_after: int | None = None
    """Number of committed stages when its task was retired, or None: later stages neither depend on its cells
    nor avoid them."""
    environment: Mapping[str, Any] | None = None
    """Its software and hardware environment; None in older records, where the run's environment applies."""


@dataclass(frozen=True)
class FirstTraining:
    """The earliest stage that any run committed for a task version."""

    run: str
    limit: int | None
    """The run's train.limit."""
    train_digest: str
    n_train: int
    seeds: Mapping[str, int]


@dataclass(frozen=True)
class StatisticsRecord:
    """Feature statistics of a task's texts, used to predict the task of a text."""

    task: str
    """The task's label."""
    artifact: str
    """Digest of the file that contains the statistics."""
    n: int
    """Number of training examples they were computed from."""


@dataclass(frozen=True)
class Evaluation:
    """One cell of a forgetting matrix."""

    stage: int
    """Number of committed stages when it was scored; 0 is the base model."""
    task: str
    """The task's label."""
    view: str
    """'as_trained', 'current' or 'routed'; 'base' in row 0."""
    metric: str
    score: float
    """A fraction."""
    n: int
    stderr: float | None
    source: Source
    input_digest: str
    """SHA-256 of all inputs that the score depends on."""
    n_truncated: int
    """Examples longer than `train.max_length`."""
    elapsed_s: float
    answers: str
    """Digest of the artifact that contains all answers."""
    outcomes: tuple[float, ...] = field(repr=False)
    """Score of each answer, in the order of the eval set."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Additional metrics of the same answers, as fractions, by name."""


@dataclass(frozen=True)
class Run:
    """One execution of a curriculum with one seed."""

    name: str
    curriculum: Mapping[str, Any]
    """The effective settings: all defaults are filled in, including the method's learning rate."""
    method: str
    seed: int
    base_path: str
    base_revision: str | None
    base_digest: str
    tasks: tuple[Task, ...]
    """The curriculum's tasks, pinned to their versions."""
    stages: tuple[Stage, ...]
    projection: Projection | None
    """None for methods that train A."""
    environment: Mapping[str, Any]
    """Environment at the start: versions, platform, device, threads, torch settings."""
    created_at: datetime
    imported: str | None = None
    """Digest of the imported adapter of its first task; None if the first task is trained, and in older
    records."""
    also: tuple[Task, ...] = ()
    """The tasks of `eval.also`, which are scored and not trained."""

    @property
    def scored_tasks(self) -> tuple[Task, ...]:
        """All tasks that have scores: the curriculum's tasks, and those of `eval.also`."""
        return (*self.tasks, *self.also)

    def environment_of(self, stage: Stage) -> Mapping[str, Any]:
        """Return the environment of a stage."""
        return self.environment if stage.environment is None else stage.environment

    @property
    def is_stacked(self) -> bool:
        """Whether each task is trained on top of the earlier ones."""
        composition: str = self.curriculum["adapter"].get("composition", "stacked")
        return composition == "stacked"

    def position(self, task: str) -> int:
        """Return the position of a trained task, from 0; `task` is its label, its name or 'name@1'.

        Raises: UnknownTask, with the nearest name.
        """
        trained = self.tasks[: len(self.stages)]
        labels = [each.label for each in trained]
        positions = {each.name: index for index, each in enumerate(trained)}
        positions |= {f"{each.name}@{each.version}": index for index, each in enumerate(trained)}
        positions |= {label: index for index, label in enumerate(labels)}
        if task in positions:
            return positions[task]
        near = suggestion(task, labels) or f" Trained tasks: {', '.join(labels) or 'none'}."
        raise UnknownTask(f"run '{self.name}' has not trained task '{task}'.{near}")

    @property
    def rank(self) -> int | None:
        """Current rank of the adapter; None for methods that train A."""
        if self.projection is None:
            return None
        ranks = [stage.mask.rank for stage in self.stages if stage.mask and stage.mask.rank]
        return max(ranks, default=self.projection.rank)

    @property
    def may_overlap(self) -> bool:
        """Whether a task may claim cells of another task."""
        return may_overlap((self.curriculum.get("masks") or {}).get("overlap"))

    @property
    def free_cells(self) -> int | None:
        """Number of cells that the next task can claim; None for methods that train A."""
        if self.projection is None:
            return None
        claimed = sum(s.mask.cells for s in self.stages if s.mask and s.retired_after is None)
        return self.projection.cells(self.rank) - (0 if self.may_overlap else claimed)

    @property
    def task_labels(self) -> tuple[str, ...]:
        """The labels of its tasks, in order."""
        return tuple(task.label for task in self.tasks)

    @property
    def stages_done(self) -> int:
        """Number of committed stages."""
        return len(self.stages)

    @property
    def status(self) -> str:
        """'done', or the number of committed stages."""
        return run_status(self.stages_done, len(self.tasks))


@dataclass(frozen=True)
class RunSummary:
    """The fields of a run in a list of runs, without its stages, masks and settings."""

    name: str
    method: str
    seed: int
    base_path: str
    base_revision: str | None
    base_digest: str
    task_labels: tuple[str, ...]
    """In the order of the run."""
    stages_done: int
    created_at: datetime

    @property
    def status(self) -> str:
        """'done', or the number of committed stages."""
        return run_status(self.stages_done, len(self.task_labels))


def run_status(done: int, planned: int) -> str:
    """Return 'done' or, for example, '2 of 5 stages'."""
    return "done" if done == planned else f"{done} of {planned} stages"


@dataclass(frozen=True)
class StageTime:
    """How long a stage was trained."""

    run: str
    task: str
    """The task's label."""
    curriculum: Mapping[str, Any]
    """The settings of its run."""
    steps: int
    train_s: float
    """Training only, including calibration."""
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class ScoreTime:
    """How long a score was measured."""

    task: str
    """The task's label."""
    n: int
    elapsed_s: float
    environment: Mapping[str, Any]
    """Of its run."""


@dataclass(frozen=True)
class Declaration:
    """A task to register."""

    spec: Mapping[str, Any]
    eval_set: tuple[str, int, int]
    """(artifact digest, number of examples, bytes)."""
    declared_in: str
    """Folder of its task file."""
    files: Mapping[str, int] = field(default_factory=dict)
    """By digest, the bytes of the JSON Lines artifacts that hold the rows of a task with data in memory."""


@dataclass(frozen=True)
class RunStart:
    """The values that are fixed when a run starts."""

    name: str
    curriculum: Mapping[str, Any]
    tasks: tuple[Task, ...]
    base_digest: str
    projection: Projection | None
    environment: Mapping[str, Any]
    imported: str | None = None
    """Digest of the imported adapter of the first task."""
