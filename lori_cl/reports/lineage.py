"""The lineage of a run as facts that any format can render."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lori_cl.lori_rules import IMPORTED
from lori_cl.registry import Run, Stage, Task
from lori_cl.reports.phrases import (
    describe_projection,
    describe_source,
    megabytes,
    minute,
    seconds,
    stage_name,
    stage_title,
)


@dataclass(frozen=True)
class Fact:
    """One line of the lineage."""

    name: str
    value: str
    digest: str | None = None
    """SHA-256 that identifies it; None if there is none."""


@dataclass(frozen=True)
class Section:
    """A titled group of facts."""

    title: str
    facts: tuple[Fact, ...]


def lineage_sections(run: Run) -> list[Section]:
    """Return sections on the run, each stage with its data, each pending task, and the environment."""
    done = {stage.task: stage for stage in run.stages}
    sections = [Section("Run", tuple(_run(run)))]
    for position, task in enumerate(run.tasks, start=1):
        stage = done.get(task.label)
        facts = _stage(run, stage) if stage else ()
        title = stage_title(stage) if stage else f"{stage_name(position, task.label)}, pending"
        sections.append(Section(f"Stage {title}", (*facts, *_data(task))))
    environment = (Fact(field, str(value)) for field, value in run.environment.items())
    return [*sections, Section("Environment", tuple(environment))]


def changed_environments(run: Run) -> list[str]:
    """Return 'stage 3 qqp: threads 7 (2 when the run started)' for each stage with another environment."""
    changed = {stage_name(stage.position, stage.task): _changes(run, stage) for stage in run.stages}
    return [f"stage {stage}: {changes}" for stage, changes in changed.items() if changes]


def _changes(run: Run, stage: Stage) -> str:
    """Return 'threads 7 (2 when the run started)'; empty if the stage has the environment of its run."""
    at_start, at_stage = run.environment, run.environment_of(stage)
    fields = dict.fromkeys((*at_start, *at_stage))
    changed = {
        field: (at_stage.get(field, "none"), at_start.get(field, "none"))
        for field in fields
        if at_stage.get(field) != at_start.get(field)
    }
    return ", ".join(
        f"{field} {now} ({before} when the run started)" for field, (now, before) in changed.items()
    )


def _run(run: Run) -> Iterator[Fact]:
    yield Fact("started", f"{minute(run.created_at)} UTC")
    yield Fact("base model", f"{run.base_path}, revision {run.base_revision or 'none'}", run.base_digest)
    if run.imported is not None:
        yield Fact("started from", "an imported adapter", run.imported)
    yield Fact("seed", str(run.seed))
    yield Fact("projection", describe_projection(run))


def _stage(run: Run, stage: Stage) -> Iterator[Fact]:
    if stage.committed_at is not None:
        yield Fact("committed", f"{minute(stage.committed_at)} UTC")
    yield Fact("artifact", "", stage.artifact)
    yield Fact("parent", "the base model" if stage.parent is None else "", stage.parent)
    if stage.mask is not None:
        yield Fact("mask", f"{stage.mask.strategy}, {stage.mask.cells:,} cells", stage.mask.digest)
        if stage.mask.projection is not None:
            yield Fact("trained with A", "", stage.mask.projection)
    examples = f"{stage.n_train:,} examples, {stage.n_truncated:,} truncated"
    yield Fact("trained on", examples, stage.train_digest)
    steps = f"{stage.steps:,} steps, mean loss {stage.final_loss:.4f}"
    if stage.mask is not None and stage.mask.strategy == IMPORTED:
        steps = f"{stage.steps:,} steps, head only: the adapter was imported"
    duration = f"{seconds(stage.train_s)} of the stage's {seconds(stage.elapsed_s)}"
    yield Fact("training", f"{steps}, {duration}")
    yield Fact("peak memory", megabytes(stage.peak_memory_bytes))
    yield Fact("seeds", ", ".join(f"{purpose} {seed}" for purpose, seed in stage.seeds.items()))
    changes = _changes(run, stage)
    if changes:
        yield Fact("environment changes", changes)


def _data(task: Task) -> Iterator[Fact]:
    yield Fact("eval set", f"{task.eval_set.n:,} examples", task.eval_set.digest)
    for skipped in task.skipped:
        yield Fact("skipped", skipped)
    train_source = (task.spec.get("train") or {}).get("source")
    yield Fact("source", describe_source(task.spec.get("source") or {}, exactly=True))
    if train_source:
        yield Fact("training source", describe_source(train_source, exactly=True))
