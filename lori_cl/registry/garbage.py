"""Unused files of a workspace, left behind by runs that were killed or never committed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from stat import S_ISREG

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.artifacts import PART_PREFIX
from lori_cl.registry.registry import Registry
from lori_cl.registry.safe_paths import require_inside
from lori_cl.registry.scored_stage import ScoredStage
from lori_cl.registry.workspace import REGISTRIES_FILE, Workspace


@dataclass(frozen=True)
class GarbageFile:
    """An unused file or folder."""

    path: Path
    name: str
    """Its path within the workspace."""
    bytes: int
    age_s: float
    """Since its last write."""
    reason: str
    """Why nothing uses it."""

    def remove(self) -> None:
        """Delete it if it still exists; a link is deleted, not its target.

        Raises: WorkspaceUnusable, if it cannot be deleted or a link leads out of the workspace.
        """
        root = self.path.parents[len(Path(self.name).parts) - 1]
        require_inside(root, self.path.parent)
        try:
            shutil.rmtree(self.path) if _is_folder(self.path) else self.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise WorkspaceUnusable(f"{self.path} cannot be deleted: {error.strerror}") from error


def undecided_reason(workspace: Workspace) -> str | None:
    """Return why unused files cannot be determined now, or None if they can.

    Raises: WorkspaceUnusable.
    """
    if others := workspace.other_registries():
        return (
            f"{', '.join(others)} also keeps runs in this workspace, and which files it needs is unknown; "
            f"if that registry is no longer used, delete it and its line in {REGISTRIES_FILE}"
        )
    if locked := workspace.locked_runs():
        return f"{', '.join(locked)} is running, and its uncommitted files would look unused"
    return None


def find_garbage(workspace: Workspace, registry: Registry) -> list[GarbageFile]:
    """Find unreferenced artifacts, incomplete writes, and files of held-back stages that are now committed.

    The result is valid if `undecided_reason` returns None before and after the call.
    Raises: ArtifactDamaged, if a held-back stage cannot be read.
    """
    files = (_garbage_file(workspace, path, reason) for path, reason in _find_paths(workspace, registry))
    return [each for each in files if each is not None]


def _find_paths(workspace: Workspace, registry: Registry) -> Iterator[tuple[Path, str]]:
    # Read the rows last: a file that is committed in the meantime was seen in its old place.
    folders = (workspace.path("aside"), workspace.artifacts.folder, workspace.checkpoints)
    aside, artifacts, checkpoints = map(_entries, folders)
    held_back = {path: _held_back(workspace, path) for path in aside if path.suffix == ".json"}
    runs = {run.name: run for run in registry.run_summaries()}
    needed = set(registry.artifact_files())
    for path, held in held_back.items():
        run = runs.get(path.stem)
        if held is None:
            continue
        if run is None or held.stage.position <= run.stages_done:
            yield path, "no run has this name" if run is None else "its stage is committed"
        else:
            needed |= {f"{digest}.{suffix}" for digest, (suffix, _) in held.files.items()}
    for path in (*aside, *artifacts):
        if path.name.startswith(PART_PREFIX):
            yield path, "incomplete write"
    for path in artifacts:
        if not path.name.startswith(PART_PREFIX) and path.name not in needed:
            yield path, "not referenced by the registry"
    for path in checkpoints:
        if path.name not in runs or runs[path.name].status == "done":
            yield path, "no unfinished run has this name"


def _held_back(workspace: Workspace, path: Path) -> ScoredStage | None:
    require_inside(workspace.root, path)
    return ScoredStage.read(path)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _garbage_file(workspace: Workspace, path: Path, reason: str) -> GarbageFile | None:
    """Return None if it was deleted in the meantime."""
    within = os.walk(path) if _is_folder(path) else ()
    files = [path, *(Path(folder, name) for folder, *names in within for name in chain(*names))]
    stats = [stat for stat in map(_stat, files) if stat is not None]
    if not stats:
        return None
    return GarbageFile(
        path=path,
        name=path.relative_to(workspace.root).as_posix(),
        bytes=sum(stat.st_size for stat in stats if S_ISREG(stat.st_mode)),
        age_s=time.time() - max(stat.st_mtime for stat in stats),
        reason=reason,
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
