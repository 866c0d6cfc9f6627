"""What a workspace holds that nothing needs: of runs that were killed, or begun and never committed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.artifacts import PART
from lori_cl.registry.aside import SetAside
from lori_cl.registry.registry import Registry
from lori_cl.registry.workspace import Workspace


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go."""

    path: Path
    name: str
    """Its path within the workspace."""
    bytes: int
    age_s: float
    """Since anything of it was last written."""
    why: str

    def remove(self) -> None:
        """Delete it.

        Raises: WorkspaceUnusable.
        """
        try:
            shutil.rmtree(self.path) if self.path.is_dir() else self.path.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceUnusable(f"{self.path} cannot be removed: {error.strerror}") from error


def held_runs(workspace: Workspace, registry: Registry) -> list[str]:
    """The runs that a living process is writing: what it is about to commit looks like a leftover."""
    return [run.name for run in registry.runs() if workspace.is_held(run.name)]


def leftovers(workspace: Workspace, registry: Registry) -> list[Leftover]:
    """Artifacts that no row names, writes that broke off, and checkpoints of stages that are committed.

    While a run is held, artifacts are left out.
    """
    artifacts = () if held_runs(workspace, registry) else _artifacts(workspace, registry)
    found = (*artifacts, *_checkpoints(workspace, registry))
    return [_leftover(workspace, path, why) for path, why in found]


def _artifacts(workspace: Workspace, registry: Registry) -> Iterator[tuple[Path, str]]:
    named = registry.artifact_files() | _set_aside(workspace)
    folder = workspace.artifacts.folder
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(PART):
            yield path, "its writing broke off"
        elif path.name not in named:
            yield path, "nothing in the registry names it"


def _set_aside(workspace: Workspace) -> set[str]:
    kept = [SetAside.read(file) for file in workspace.aside("*").parent.glob("*.json")]
    return {f"{digest}.{suffix}" for each in kept if each for digest, (suffix, _) in each.files.items()}


def _checkpoints(workspace: Workspace, registry: Registry) -> Iterator[tuple[Path, str]]:
    under_way = {run.name for run in registry.runs() if run.status != "done"}
    folder = workspace.checkpoints
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name not in under_way:
            yield path, "no run of this name is under way"


def _leftover(workspace: Workspace, path: Path, why: str) -> Leftover:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return Leftover(
        path=path,
        name=path.relative_to(workspace.root).as_posix(),
        bytes=sum(stat.st_size for file, stat in zip(files, stats, strict=True) if file.is_file()),
        age_s=time.time() - max(stat.st_mtime for stat in stats),
        why=why,
    )
