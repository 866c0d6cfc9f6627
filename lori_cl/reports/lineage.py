"""What a run was made from, fact by fact, for any format to set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lori_cl.registry import Run, Stage, Task
from lori_cl.reports.wording import (
    megabytes,
    minute,
    projection_words,
    seconds,
    source_words,
    stage_name,
    stage_words,
)

IMPORTED = "imported"
"""What lori_cl.methods calls the mask of an adapter that was not trained here; torch would come with it."""


@dataclass(frozen=True)
class Fact:
    """One line."""

    name: str
    value: str
    digest: str | None = None
    """What says that it is this one and no other."""


@dataclass(frozen=True)
class Section:
    """Facts of one thing."""

    title: str
    facts: tuple[Fact, ...]


def lineage_sections(run: Run) -> list[Section]:
    """The run, each stage with the data it saw, each task to come, and what it was all computed with."""
    done = {stage.task: stage for stage in run.stages}
    sections = [Section("Run", tuple(_run(run)))]
    for position, task in enumerate(run.tasks, start=1):
        stage = done.get(task.label)
        facts = _stage(run, stage) if stage else ()
        title = stage_words(stage) if stage else f"{stage_name(position, task.label)}, to come"
        sections.append(Section(f"Stage {title}", (*facts, *_data(task))))
    told = (Fact(field, str(value)) for field, value in run.environment.items())
    return [*sections, Section("Environment", tuple(told))]


def changed_environments(run: Run) -> list[str]:
    """'stage 3 qqp: threads 7 (2 when the run began)', one line a stage computed with something else."""
    changed = {stage_name(stage.position, stage.task): _otherwise(run, stage) for stage in run.stages}
    return [f"stage {stage}: {otherwise}" for stage, otherwise in changed.items() if otherwise]


def _otherwise(run: Run, stage: Stage) -> str:
    """'threads 7 (2 when the run began)'; empty for a stage that was computed with the same as its run."""
    began, then = run.environment, run.environment_of(stage)
    fields = dict.fromkeys((*began, *then))
    changed = {
        field: (then.get(field, "none"), began.get(field, "none"))
        for field in fields
        if then.get(field) != began.get(field)
    }
    return ", ".join(
        f"{field} {now} ({before} when the run began)" for field, (now, before) in changed.items()
    )


def _run(run: Run) -> Iterator[Fact]:
    yield Fact("begun", f"{minute(run.created_at)} UTC")
    yield Fact("base model", f"{run.base_path}, revision {run.base_revision or 'none'}", run.base_digest)
    if run.imported is not None:
        yield Fact("begun with", "an imported adapter", run.imported)
    yield Fact("seed", str(run.seed))
    yield Fact("projection", projection_words(run))


def _stage(run: Run, stage: Stage) -> Iterator[Fact]:
    if stage.committed_at is not None:
        yield Fact("committed", f"{minute(stage.committed_at)} UTC")
    yield Fact("artifact", "", stage.artifact)
    yield Fact("after", "the base model" if stage.parent is None else "", stage.parent)
    if stage.mask is not None:
        yield Fact("mask", f"{stage.mask.strategy}, {stage.mask.cells:,} cells", stage.mask.digest)
        if stage.mask.projection is not None:
            yield Fact("trained under A", "", stage.mask.projection)
    yield Fact("learned from", f"{stage.n_train:,} examples, {stage.n_truncated:,} cut", stage.train_digest)
    steps = f"{stage.steps:,} steps, mean loss {stage.final_loss:.4f}"
    if stage.mask is not None and stage.mask.strategy == IMPORTED:
        steps = f"{stage.steps:,} steps, of its head alone: the adapter was imported"
    spent = f"{seconds(stage.train_s)} of the stage's {seconds(stage.elapsed_s)}"
    yield Fact("training", f"{steps}, {spent}")
    yield Fact("peak memory", megabytes(stage.peak_memory_bytes))
    yield Fact("seeds", ", ".join(f"{purpose} {seed}" for purpose, seed in stage.seeds.items()))
    otherwise = _otherwise(run, stage)
    if otherwise:
        yield Fact("computed with", otherwise)


def _data(task: Task) -> Iterator[Fact]:
    yield Fact("scored on", f"{task.eval_set.n:,} examples", task.eval_set.digest)
    for skipped in task.skipped:
        yield Fact("left out", skipped)
    learned_from = (task.spec.get("train") or {}).get("source")
    yield Fact("source", source_words(task.spec.get("source") or {}, exactly=True))
    if learned_from:
        yield Fact("source of what is learned", source_words(learned_from, exactly=True))
