"""Check that each stage's file agrees with the registry and names its parent stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lori_cl.digest import derive_seed
from lori_cl.errors import VerificationError
from lori_cl.lori_rules import IMPORTED
from lori_cl.methods.verification import expect
from lori_cl.registry import Stage, Task, is_active_after
from lori_cl.serving.checks.evidence import Evidence
from lori_cl.training.resume_checks import settings_of


def chain(evidence: Evidence) -> str:
    """Check that every stage names its parent, and that its file agrees with the registry.

    Compares run, task, mask, seeds, data, settings and the stages that it depends on.
    """
    parent, done = None, len(evidence.run.stages)
    for position, (stage, task) in enumerate(zip(evidence.run.stages, evidence.run.tasks, strict=False), 1):
        where, file = evidence.at(position), evidence.file_of(stage)
        expect(where, "(position, task)", (position, task.label), (stage.position, stage.task))
        expect(where, f"the file before {file}", parent, stage.parent)
        for field, found, recorded in _compared_fields(evidence, stage, task):
            expect(where, f"{field} in {file}", found, recorded)
        if stage.retired_after not in (None, *range(position, done + 1)):
            raise VerificationError(
                f"{where}: the registry says that it was retired after stage {stage.retired_after}, which "
                f"can be {position} to {done}"
            )
        parent = stage.artifact
    return f"{done} stages, each naming the one before; files and registry agree"


def _compared_fields(evidence: Evidence, stage: Stage, task: Task) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, value in the stage's file, value in the registry); older files lack some fields."""
    run, in_file = evidence.run, evidence.metadata[stage.position - 1]
    yield "run", in_file["run"], run.name
    yield "stage", in_file["stage"], stage.position
    yield "task", in_file["task"], stage.task
    yield "parent", in_file["parent"], stage.parent
    yield "mask", in_file["mask"], stage.mask and stage.mask.digest
    yield "seeds", in_file["seeds"], stage.seeds
    yield "imported", "imported" in in_file, stage.mask is not None and stage.mask.strategy == IMPORTED
    yield "base", in_file.get("base", run.base_digest), run.base_digest
    for field in ("train_digest", "n_train", "n_truncated", "steps"):
        yield field, in_file.get(field, getattr(stage, field)), getattr(stage, field)
    active_stages = [
        earlier.artifact
        for earlier in run.stages[: stage.position - 1]
        if is_active_after(earlier.retired_after, stage.position)
    ]
    yield "stands_on", in_file.get("stands_on", active_stages), active_stages
    settings = settings_of(evidence.curriculum, task)
    for field, value in in_file.get("settings", {}).items():
        yield field, value, settings.get(field)


def seeds(evidence: Evidence) -> str:
    """Check that every seed is derived from the seed of the run."""
    checked = 0
    for stage, task in zip(evidence.run.stages, evidence.run.tasks, strict=False):
        for purpose, seed in stage.seeds.items():
            expected = derive_seed(evidence.run.seed, task.label, task.seed, purpose)
            expect(evidence.at(stage.position), f"the seed for {purpose}", expected, seed)
            checked += 1
    return f"{checked}, each derived from the run's seed {evidence.run.seed}"
