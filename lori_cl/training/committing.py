"""Committing a stage, and clearing away what was kept of it until then."""

from __future__ import annotations

import shutil

from lori_cl.registry import Registry, SetAside, Workspace
from lori_cl.training.launch import is_writer, wait


def commit(workspace: Workspace, registry: Registry, run: str, learned: SetAside) -> None:
    """Commit a stage that is learned and scored, whether or not it was set aside before."""
    if is_writer():
        registry.commit_stage(run, learned.stage, learned.evaluations, learned.files, learned.statistics)
        clear(workspace, run)
    wait()


def clear(workspace: Workspace, run: str) -> None:
    """Remove what the run's newest stage needed until it was committed."""
    shutil.rmtree(workspace.checkpoints / run, ignore_errors=True)
    workspace.aside(run).unlink(missing_ok=True)  # last: while it is there, `settle` comes back to clear
