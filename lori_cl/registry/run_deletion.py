"""Delete a run of a workspace: its rows in one transaction, then its checkpoints and its held-back stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lori_cl.errors import RunConflict
from lori_cl.registry.deletion import CachedInputs, DeletionPlan
from lori_cl.registry.registry import Registry
from lori_cl.registry.workspace import Workspace


@dataclass(frozen=True)
class RunDeletion:
    """A deleted run, or one that can be deleted."""

    run: str
    stages: int
    scores: int
    checkpoint_bytes: int
    """Size of its checkpoints."""
    held_back: bool
    """Whether it has a held-back stage, which is deleted too."""
    unused_artifacts: int
    """Artifacts that no other run or task uses: `gc` deletes their files."""
    unused_bytes: int
    files_kept_for: tuple[str, ...]
    """Other registries of the workspace. One of them may have a run of this name, so with any of them, the
    checkpoints and the held-back stage are kept."""
    logs: str | None
    """The folder of its logs, which is kept; None if there is none."""
    deleted: bool


def delete_run(workspace: Workspace, name: str, *, dry_run: bool = False) -> RunDeletion:
    """Delete a run from the registry, with its checkpoints and its held-back stage.

    Artifacts that nothing uses any more are left to `gc`. With `dry_run`, nothing is written.
    Raises: UnknownRun; RunConflict, if a run is in progress, or if other runs have cached scores that only
    this run measured; WorkspaceUnusable.
    """
    if dry_run:
        with workspace.read() as registry:
            registry.require_run(name)
            _require_no_run_in_progress(name, workspace.locked_runs())
            plan = registry.plan_deletion(name, _held_back_scores(workspace, registry, name))
            plan.require_no_dependents(name)
            return _describe(workspace, name, plan, deleted=False)
    workspace.check_paths(name)
    with workspace.open_locked(name) as registry:
        _require_no_run_in_progress(name, [run for run in workspace.locked_runs() if run != name])
        plan = registry.delete_run(name, _held_back_scores(workspace, registry, name))
        described = _describe(workspace, name, plan, deleted=True)
        if not described.files_kept_for:
            workspace.clear_stage(name)
        return described


def _require_no_run_in_progress(name: str, locked: Sequence[str]) -> None:
    """Check that no run can commit a score that it found in the run to delete.

    Raises: RunConflict.
    """
    if locked:
        raise RunConflict(
            f"run '{name}' cannot be deleted while a run is in progress, which may use its scores: "
            f"{', '.join(locked)}; wait until it ends or stop it, then repeat the command"
        )


def _held_back_scores(workspace: Workspace, registry: Registry, name: str) -> dict[str, set[CachedInputs]]:
    """Return the cached scores of the held-back stages of other runs, by run.

    Raises: ArtifactDamaged, if a held-back stage cannot be read.
    """
    found = {}
    for file in sorted(workspace.path("aside").glob("*.json")):
        run = registry.find_run(file.stem) if file.stem != name else None
        held_back = workspace.held_back_stage(run) if run is not None else None
        if held_back is not None:
            cached = (score for score in held_back.evaluations if score.source == "cached")
            found[file.stem] = {(score.input_digest, score.answers) for score in cached}
    return found


def _describe(workspace: Workspace, name: str, plan: DeletionPlan, *, deleted: bool) -> RunDeletion:
    checkpoints, logs = workspace.checkpoints_of(name), workspace.logs_of(name)
    return RunDeletion(
        run=name,
        stages=plan.stages,
        scores=plan.scores,
        checkpoint_bytes=sum(path.lstat().st_size for path in checkpoints.rglob("*") if path.is_file()),
        held_back=workspace.held_back_file(name).exists(),
        unused_artifacts=len(plan.unused),
        unused_bytes=sum(plan.unused.values()),
        files_kept_for=tuple(workspace.other_registries()),
        logs=str(logs) if logs.is_dir() else None,
        deleted=deleted,
    )
