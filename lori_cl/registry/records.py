"""What the registry hands out: frozen values, free of sessions and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from lori_cl.errors import UnknownTask, suggestion

Source = Literal["measured", "proved"]


@dataclass(frozen=True)
class EvalSet:
    """The examples a task is scored on, frozen when the task was added."""

    digest: str
    """SHA-256 of the artifact that holds them."""
    n: int
    """Examples."""


@dataclass(frozen=True)
class Task:
    """A registered version of a task."""

    name: str
    version: int
    kind: str
    metric: str
    seed: int
    spec: Mapping[str, Any]
    """The declaration, as `TaskSpec.to_record` wrote it."""
    eval_set: EvalSet
    declared_in: str
    """The folder of its file: relative to the workspace where it lies inside, absolute elsewhere."""
    created_at: datetime

    @property
    def skipped(self) -> list[str]:
        """Which invalid rows were left out when it was added, in words, one entry a split."""
        from lori_cl.spec.task import SkippedRows  # pydantic comes with it, which reports do not load

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
    """A run's frozen A's."""

    kind: str
    distribution: str
    seed: int
    rank: int
    digest: str | None
    """Of the one A a site; None where every stage has its own."""
    sites: Mapping[str, tuple[int, int]]
    """Each site's (d_out, d_in), in the order that numbers the cells."""

    def cells(self, rank: int | None = None) -> int:
        """All cells of the adapter, at a rank that it has grown to."""
        return sum(out for out, _ in self.sites.values()) * (rank or self.rank)


@dataclass(frozen=True)
class MaskRecord:
    """A task's cells, counted."""

    strategy: str
    density: float
    """Fraction of the adapter's cells, as many as it began with."""
    cells: int
    digest: str
    by_site: Mapping[str, int]
    rank: int | None = None
    """Rank of the adapter then; None in records from before adapters could grow."""
    projection: str | None = None
    """Digest of the A's it was trained under; None in records from before tasks could have their own."""
    directions: Mapping[str, int] | None = None
    """Input directions that the task took of each site, for a projection that keeps later tasks out of
    them."""


@dataclass(frozen=True)
class Stage:
    """A committed stage."""

    position: int
    """Counted from 1."""
    task: str
    """The task's label."""
    artifact: str
    """Digest of the stage's tensors."""
    parent: str | None
    """The artifact of the stage before."""
    mask: MaskRecord | None
    """None for a method without masks."""
    train_digest: str
    """SHA-256 of the training examples."""
    n_train: int
    n_truncated: int
    """Training examples that were longer than `train.max_length`."""
    steps: int
    """Optimizer steps, the calibration's left out."""
    final_loss: float
    """Mean training loss of the stage."""
    elapsed_s: float
    """From the stage's begin to its commit, scoring included."""
    train_s: float
    """Training alone, calibration included."""
    peak_memory_bytes: int
    """Of the process until then: resident memory, or the device's where there is one."""
    seeds: Mapping[str, int]
    committed_at: datetime | None = None
    retired_after: int | None = None
    """How many stages were done when its task was retired: later ones neither stand on its cells nor keep off
    them. None where it was not."""
    environment: Mapping[str, Any] | None = None
    """What it was computed with; None in records from before stages had their own, where it was the run's."""


@dataclass(frozen=True)
class FirstTraining:
    """The earliest stage that any run committed for a version of a task."""

    run: str
    limit: int | None
    """The run's train.limit."""
    train_digest: str
    n_train: int
    seeds: Mapping[str, int]


@dataclass(frozen=True)
class StatisticsRecord:
    """What a run can tell a task's texts by, written down."""

    task: str
    """The task's label."""
    artifact: str
    """Digest of the file that holds the statistics."""
    n: int
    """Training examples they were taken over."""


@dataclass(frozen=True)
class Evaluation:
    """One cell of a forgetting matrix."""

    stage: int
    """Stages done when it was scored; 0 is the base model."""
    task: str
    """The task's label."""
    view: str
    """'as_trained', 'current' or 'routed', or 'base' in row 0."""
    metric: str
    score: float
    """A fraction."""
    n: int
    stderr: float | None
    source: Source
    input_digest: str
    """SHA-256 of everything the score depends on."""
    n_truncated: int
    """Examples that were longer than `train.max_length`."""
    elapsed_s: float
    answers: str
    """Digest of the artifact that holds every answer."""
    outcomes: tuple[float, ...] = field(repr=False)
    """How right each answer is, in the eval set's order."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the same answers, as fractions, by name."""


@dataclass(frozen=True)
class Run:
    """One execution of a curriculum with one seed."""

    name: str
    curriculum: Mapping[str, Any]
    """As it runs: every default written out, the method's learning rate among them."""
    method: str
    seed: int
    base_path: str
    base_revision: str | None
    base_digest: str
    tasks: tuple[Task, ...]
    """The curriculum's tasks, pinned to their versions."""
    stages: tuple[Stage, ...]
    projection: Projection | None
    """None for a method that trains its A."""
    environment: Mapping[str, Any]
    """What it was computed with when it began: versions, platform, device, threads, settings of torch."""
    created_at: datetime
    imported: str | None = None
    """Digest of the adapter from elsewhere that it began with; None where its first task is trained, and in
    records from before this was written down."""

    def environment_of(self, stage: Stage) -> Mapping[str, Any]:
        """What a stage was computed with."""
        return self.environment if stage.environment is None else stage.environment

    @property
    def stacks(self) -> bool:
        """Whether each of its tasks is trained on top of those before it."""
        composition: str = self.curriculum["adapter"].get("composition", "stacked")
        return composition == "stacked"

    def position(self, task: str) -> int:
        """Where a task stands among those that are learned, from 0, by its label, its name or 'name@1'.

        Raises: UnknownTask, with the nearest name.
        """
        learned = self.tasks[: len(self.stages)]
        labels = [each.label for each in learned]
        positions = {each.name: index for index, each in enumerate(learned)}
        positions |= {f"{each.name}@{each.version}": index for index, each in enumerate(learned)}
        positions |= {label: index for index, label in enumerate(labels)}
        if task in positions:
            return positions[task]
        near = suggestion(task, labels) or f" There are: {', '.join(labels) or 'none'}."
        raise UnknownTask(f"run '{self.name}' has not learned '{task}'.{near}")

    @property
    def rank(self) -> int | None:
        """Of the adapter, as far as it has grown; None for a method that trains its A."""
        if self.projection is None:
            return None
        ranks = [stage.mask.rank for stage in self.stages if stage.mask and stage.mask.rank]
        return max(ranks, default=self.projection.rank)

    @property
    def free_cells(self) -> int | None:
        """Cells that the next task may claim; None for a method that trains its A."""
        if self.projection is None:
            return None
        overlaps = self.curriculum["masks"].get("overlap") == "allow"
        claimed = sum(s.mask.cells for s in self.stages if s.mask and s.retired_after is None)
        return self.projection.cells(self.rank) - (0 if overlaps else claimed)

    @property
    def task_labels(self) -> tuple[str, ...]:
        """The labels of its tasks, in their order."""
        return tuple(task.label for task in self.tasks)

    @property
    def stages_done(self) -> int:
        """How many stages are committed."""
        return len(self.stages)

    @property
    def status(self) -> str:
        """'done', or how many stages are."""
        return run_status(self.stages_done, len(self.tasks))


@dataclass(frozen=True)
class RunSummary:
    """What a list of runs shows of one, without its stages, masks and settings."""

    name: str
    method: str
    seed: int
    base_path: str
    base_revision: str | None
    base_digest: str
    task_labels: tuple[str, ...]
    """In their order."""
    stages_done: int
    created_at: datetime

    @property
    def status(self) -> str:
        """'done', or how many stages are."""
        return run_status(self.stages_done, len(self.task_labels))


def run_status(done: int, planned: int) -> str:
    """'done', or '2 of 5 stages'."""
    return "done" if done == planned else f"{done} of {planned} stages"


@dataclass(frozen=True)
class Declaration:
    """A task as it is added."""

    spec: Mapping[str, Any]
    eval_set: tuple[str, int, int]
    """(artifact digest, examples, bytes)."""
    declared_in: str
    """The folder of its file."""


@dataclass(frozen=True)
class RunStart:
    """What is fixed when a run begins."""

    name: str
    curriculum: Mapping[str, Any]
    tasks: tuple[Task, ...]
    base_digest: str
    projection: Projection | None
    environment: Mapping[str, Any]
    imported: str | None = None
    """Digest of a ready adapter for the first task."""
