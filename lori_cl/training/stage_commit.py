"""Commit a stage with its record, and remove its temporary files."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

from lori_cl.registry import HeldBackStage, Registry, Workspace
from lori_cl.registry.stage_records import in_commit_order, stage_records
from lori_cl.training.distributed import is_rank_0, wait

log = logging.getLogger(__name__)


def commit(workspace: Workspace, registry: Registry, run: str, trained: HeldBackStage) -> None:
    """Commit a trained and scored stage, held back or not, and log its receipt."""
    if is_rank_0():
        head = _commit_with_record(workspace, registry, run, trained)
        clear(workspace, run)
        log.info("receipt: run %s, stage %d, head %s", run, trained.stage.position, head)
    wait()


def _commit_with_record(workspace: Workspace, registry: Registry, name: str, trained: HeldBackStage) -> str:
    """Write the stage's record, commit both and return the head."""
    run, stage = registry.run(name), trained.stage
    run = replace(run, stages=(*run.stages, stage))
    scores = in_commit_order(run, trained.evaluations)
    record = stage_records(run, [*registry.score_log(name), *scores])[-1]
    sha256 = workspace.artifacts.put(record.content, "jsonl")
    files = {**trained.files, sha256: ("jsonl", len(record.content))}
    registry.commit_stage(name, stage, scores, files, trained.statistics)
    return sha256


def clear(workspace: Workspace, run: str) -> None:
    """Remove the checkpoints and the held-back file of the run's newest stage."""
    shutil.rmtree(workspace.checkpoints_of(run), ignore_errors=True)
    workspace.held_back_file(run).unlink(missing_ok=True)  # last: `resolve_held_back` retries if it exists
