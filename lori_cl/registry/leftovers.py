"""What a workspace holds that nothing needs: of runs that were killed, or begun and never committed."""

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
from lori_cl.registry.artifacts import PART
from lori_cl.registry.aside import SetAside
from lori_cl.registry.registry import Registry
from lori_cl.registry.safe_paths import require_inside
from lori_cl.registry.workspace import NOTED, Workspace


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
        """Delete it, unless it is gone already; of a link, the link.

        Raises: WorkspaceUnusable, also if its folder leads out of the workspace by now.
        """
        root = self.path.parents[len(Path(self.name).parts) - 1]
        require_inside(root, self.path.parent)
        try:
            shutil.rmtree(self.path) if _is_folder(self.path) else self.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise WorkspaceUnusable(f"{self.path} cannot be removed: {error.strerror}") from error


def undecided(workspace: Workspace) -> str | None:
    """Why it cannot be told now what is left over, or None where it can.

    Raises: WorkspaceUnusable.
    """
    if others := workspace.other_registries():
        return (
            f"{', '.join(others)} keeps runs in this workspace, too, and what it needs is not known here; "
            f"where it was given up, delete it, and its line in {NOTED}"
        )
    if held := workspace.held_runs():
        return f"{', '.join(held)} is under way, and what it is about to commit would look like it"
    return None


def leftovers(workspace: Workspace, registry: Registry) -> list[Leftover]:
    """Artifacts that no row names, writes that broke off, and what was kept of stages that are committed.

    To be trusted where `undecided` gives None both before and after.
    Raises: ArtifactDamaged, if a stage that is set aside cannot be read.
    """
    told = (_leftover(workspace, path, why) for path, why in _found(workspace, registry))
    return [each for each in told if each is not None]


def _found(workspace: Workspace, registry: Registry) -> Iterator[tuple[Path, str]]:
    # The rows are read last: what was moved to them meanwhile has been seen where it was before.
    folders = (workspace.place("aside"), workspace.artifacts.folder, workspace.checkpoints)
    aside, artifacts, checkpoints = map(_entries, folders)
    set_aside = {path: _held_back(workspace, path) for path in aside if path.suffix == ".json"}
    runs = {run.name: run for run in registry.run_summaries()}
    needed = set(registry.artifact_files())
    for path, kept in set_aside.items():
        run = runs.get(path.stem)
        if kept is not None and run is not None and kept.stage.position <= run.stages_done:
            yield path, "its stage is committed"
        elif kept is not None:
            needed |= {f"{digest}.{suffix}" for digest, (suffix, _) in kept.files.items()}
    for path in (*aside, *artifacts):
        if path.name.startswith(PART):
            yield path, "its writing broke off"
    for path in artifacts:
        if not path.name.startswith(PART) and path.name not in needed:
            yield path, "nothing in the registry names it"
    for path in checkpoints:
        if path.name not in runs or runs[path.name].status == "done":
            yield path, "no run of this name is under way"


def _held_back(workspace: Workspace, path: Path) -> SetAside | None:
    require_inside(workspace.root, path)
    return SetAside.read(path)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _leftover(workspace: Workspace, path: Path, why: str) -> Leftover | None:
    """None where it is gone meanwhile."""
    within = os.walk(path) if _is_folder(path) else ()
    files = [path, *(Path(folder, name) for folder, *names in within for name in chain(*names))]
    stats = [stat for stat in map(_stat, files) if stat is not None]
    if not stats:
        return None
    return Leftover(
        path=path,
        name=path.relative_to(workspace.root).as_posix(),
        bytes=sum(stat.st_size for stat in stats if S_ISREG(stat.st_mode)),
        age_s=time.time() - max(stat.st_mtime for stat in stats),
        why=why,
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
