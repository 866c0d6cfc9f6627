"""Whether each stage's file says what the registry says of the stage, and stands on the one before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lori_cl.errors import Untruth
from lori_cl.methods.lori_imports import IMPORTED
from lori_cl.registry import Stage, Task, acts_after
from lori_cl.serving.checks.evidence import Evidence, expect
from lori_cl.training.continuing import settings_of
from lori_cl.training.determinism import derive_seed


def chain(evidence: Evidence) -> str:
    """Every stage names the one before, and its file says so of run, task, mask, seeds, data, settings and
    what it stood on."""
    parent, done = None, len(evidence.run.stages)
    for position, (stage, task) in enumerate(zip(evidence.run.stages, evidence.run.tasks, strict=False), 1):
        where, file = evidence.at(position), evidence.file_of(stage)
        expect(where, "(position, task)", (position, task.label), (stage.position, stage.task))
        expect(where, f"the file before {file}", parent, stage.parent)
        for field, found, recorded in _told(evidence, stage, task):
            expect(where, f"{field} in {file}", found, recorded)
        if stage.retired_after not in (None, *range(position, done + 1)):
            raise Untruth(
                f"{where}: the registry says that it was retired after stage {stage.retired_after}, which "
                f"can be {position} to {done}"
            )
        parent = stage.artifact
    return f"{done} stages, each naming the one before; files and registry say the same"


def _told(evidence: Evidence, stage: Stage, task: Task) -> Iterator[tuple[str, Any, Any]]:
    """(what, what the stage's file says, what the registry says); earlier files say less of themselves."""
    run, told = evidence.run, evidence.metadata[stage.position - 1]
    yield "run", told["run"], run.name
    yield "stage", told["stage"], stage.position
    yield "task", told["task"], stage.task
    yield "parent", told["parent"], stage.parent
    yield "mask", told["mask"], stage.mask and stage.mask.digest
    yield "seeds", told["seeds"], stage.seeds
    yield "imported", "imported" in told, stage.mask is not None and stage.mask.strategy == IMPORTED
    yield "base", told.get("base", run.base_digest), run.base_digest
    for field in ("train_digest", "n_train", "n_truncated", "steps"):
        yield field, told.get(field, getattr(stage, field)), getattr(stage, field)
    standing = [
        earlier.artifact
        for earlier in run.stages[: stage.position - 1]
        if acts_after(earlier.retired_after, stage.position)
    ]
    yield "stands_on", told.get("stands_on", standing), standing
    settings = settings_of(evidence.curriculum, task)
    for field, value in told.get("settings", {}).items():
        yield field, value, settings.get(field)


def seeds(evidence: Evidence) -> str:
    """Every seed is derived from the run's."""
    counted = 0
    for stage, task in zip(evidence.run.stages, evidence.run.tasks, strict=False):
        for purpose, seed in stage.seeds.items():
            made = derive_seed(evidence.run.seed, task.label, task.seed, purpose)
            expect(evidence.at(stage.position), f"the seed for {purpose}", made, seed)
            counted += 1
    return f"{counted}, each derived from the run's seed {evidence.run.seed}"
