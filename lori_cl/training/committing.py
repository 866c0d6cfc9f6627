"""Committing a stage with its record, and removing what was kept of it until then."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

from lori_cl.registry import Registry, SetAside, Workspace
from lori_cl.registry.stage_records import in_commit_order, stage_records
from lori_cl.training.launch import is_writer, wait

log = logging.getLogger(__name__)


def commit(workspace: Workspace, registry: Registry, run: str, learned: SetAside) -> None:
    """Commit a trained and scored stage, held back before or not, and log its receipt."""
    if is_writer():
        head = _commit_with_record(workspace, registry, run, learned)
        clear(workspace, run)
        log.info("receipt: run %s, stage %d, head %s", run, learned.stage.position, head)
    wait()


def _commit_with_record(workspace: Workspace, registry: Registry, name: str, learned: SetAside) -> str:
    """Write the stage's record, then commit both; returns the head."""
    run, stage = registry.run(name), learned.stage
    run = replace(run, stages=(*run.stages, stage))
    scores = in_commit_order(run, learned.evaluations)
    record = stage_records(run, [*registry.score_log(name), *scores])[-1]
    sha256 = workspace.artifacts.put(record.content, "jsonl")
    files = {**learned.files, sha256: ("jsonl", len(record.content))}
    registry.commit_stage(name, stage, scores, files, learned.statistics)
    return sha256


def clear(workspace: Workspace, run: str) -> None:
    """Remove what the run's newest stage needed until it was committed."""
    shutil.rmtree(workspace.checkpoints_of(run), ignore_errors=True)
    workspace.aside(run).unlink(missing_ok=True)  # last: while it is there, `settle` comes back to clear
