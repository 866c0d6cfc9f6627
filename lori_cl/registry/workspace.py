"""A workspace: a folder with registry.db, tasks/, artifacts/ and locks/."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.artifacts import ArtifactStore
from lori_cl.registry.connect import display_name, parse_url, sqlite_file
from lori_cl.registry.records import Run, Task
from lori_cl.registry.registry import Registry
from lori_cl.registry.registry_index import add_registry, listed_registries
from lori_cl.registry.safe_paths import (
    require_file_name,
    require_inside,
    require_own_file,
    require_tree_inside,
)
from lori_cl.registry.scored_stage import ScoredStage
from lori_cl.registry.stage_records import in_commit_order, stage_records

if TYPE_CHECKING:
    from lori_cl.registry.upgrade import Upgrade

log = logging.getLogger(__name__)

DATABASE = "registry.db"

ARTIFACTS = "artifacts"
"""The folder of the artifacts; the splits of a task with data in memory are files in it, named by digest."""

SQLITE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite creates next to a database."""

REGISTRIES_FILE = "registries.txt"
"""Lists the registries used with the workspace, other than registry.db."""


@dataclass(frozen=True)
class Workspace:
    """A folder with a team's tasks and runs."""

    root: Path
    url: str | None = field(default=None, repr=False)
    """The database used instead of registry.db, as a SQLAlchemy URL, which may contain a password."""

    @property
    def artifacts(self) -> ArtifactStore:
        """The store of artifact files."""
        return ArtifactStore(self.path(ARTIFACTS), self.root)

    def path(self, *parts: str) -> Path:
        """Return a path in the workspace.

        Raises: WorkspaceUnusable, if a link leads out of the workspace.
        """
        path = self.root.joinpath(*parts)
        require_inside(self.root, path)
        return path

    @property
    def checkpoints(self) -> Path:
        """Folder with one subfolder per run: the checkpoints of its stage in progress."""
        return self.path("checkpoints")

    def checkpoints_of(self, run: str) -> Path:
        """Return the folder of a run's checkpoints.

        Raises: WorkspaceUnusable, if the folder, or a link in it, leads out of the workspace.
        """
        return self._tree("checkpoints", run)

    def logs_of(self, run: str) -> Path:
        """Return the folder of a run's logs.

        Raises: WorkspaceUnusable, if the folder, or a link in it, leads out of the workspace.
        """
        return self._tree("logs", run)

    @property
    def judge_cache(self) -> Path:
        """Folder with the replies of judges.

        Raises: WorkspaceUnusable, if the folder, or a link in it, leads out of the workspace.
        """
        path = self.path("judge")
        require_tree_inside(self.root, path)
        return path

    def _tree(self, folder: str, run: str) -> Path:
        path = self.path(folder, require_file_name(run))
        require_tree_inside(self.root, path)
        return path

    def held_back_file(self, run: str) -> Path:
        """Return the file of a run's held-back stage, whether or not it exists."""
        return self.path("aside", f"{require_file_name(run)}.json")

    def held_back_stage(self, run: Run) -> ScoredStage | None:
        """Return the held-back stage that follows the run's current stages, or None.

        Raises: ArtifactDamaged.
        """
        held_back = ScoredStage.read(self.held_back_file(run.name))
        return held_back if held_back is not None and held_back.follows(run) else None

    def commit_stage(self, registry: Registry, name: str, scored: ScoredStage) -> Run:
        """Commit a stage with its record to the run of this name; return the run as it is then."""
        run, stage = registry.run(name), scored.stage
        run = replace(run, stages=(*run.stages, stage))
        scores = in_commit_order(run, scored.evaluations)
        record = stage_records(run, [*registry.score_log(name), *scores])[-1]
        sha256 = self.artifacts.put(record.content, "jsonl")
        files = {**scored.files, sha256: ("jsonl", len(record.content))}
        registry.commit_stage(name, stage, scores, files, scored.statistics)
        self.clear_stage(name)
        log.info("receipt: run %s, stage %d, head %s", name, stage.position, sha256)
        return registry.run(name)

    def clear_stage(self, run: str) -> None:
        """Remove the checkpoints and the held-back file of the run's newest stage."""
        shutil.rmtree(self.checkpoints_of(run), ignore_errors=True)
        self.held_back_file(run).unlink(missing_ok=True)  # last: the gate retries if it exists

    def create(self) -> bool:
        """Create the folders and the registry; return False if the registry exists already.

        Raises: WorkspaceUnusable, if the folder cannot be written.
        """
        try:
            for folder in (self.root, self.path("tasks"), self.path("artifacts")):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnusable(f"{self.root} cannot be created: {error.strerror}") from error
        return Registry.create(self._url(writes=True))

    def upgrade(self, *, backup: bool = True) -> Upgrade:
        """Upgrade a registry of an earlier schema, after a backup.

        Raises: WorkspaceUnusable, if there is no registry, or it cannot be backed up or written;
        RegistryTooNew.
        """
        from lori_cl.registry.upgrade import upgrade  # imports Alembic, which is slow

        return upgrade(parse_url(self._url(writes=True)), self.root, backup=backup)

    def open(self) -> Registry:
        """Open the registry for writing.

        A registry other than registry.db is added to registries.txt: `gc` must not delete its files.
        Raises: WorkspaceUnusable, if it does not exist or cannot be written; RegistryTooNew.
        """
        registry = Registry.open(self._url(writes=True), read_only=False)
        try:
            if self._registry_name() != DATABASE:
                add_registry(self.path(REGISTRIES_FILE), self._registry_name())
        except BaseException:
            registry.close()
            raise
        return registry

    def read(self) -> Registry:
        """Open the registry for reading, without creating any file.

        Raises: WorkspaceUnusable, if it does not exist; RegistryTooNew.
        """
        return Registry.open(self._url(), read_only=True)

    def check_paths(self, run: str) -> None:
        """Check, before training, that all files that a run writes are in the workspace.

        Raises: WorkspaceUnusable, if a link leads out of it, or the run's name is a path.
        """
        for run_path in (self.checkpoints_of, self.logs_of, self.held_back_file):
            run_path(run)
        require_inside(self.root, self.artifacts.folder)

    def lock(self, run: str) -> AbstractContextManager[None]:
        """Lock a run until the context exits; every command that writes a run locks it.

        Raises: RunConflict, naming the process that holds the lock; WorkspaceUnusable, if the lock cannot be
        written.
        """
        from lori_cl.registry.run_lock import lock_run  # readers do not need its imports

        return lock_run(self.path("locks"), run)

    @contextmanager
    def open_locked(self, run: str) -> Iterator[Registry]:
        """Open the registry for writing and lock an existing run.

        Raises: UnknownRun; see also `open` and `lock`.
        """
        with self.open() as registry:
            registry.run(run)  # raises UnknownRun before the lock is created
            with self.lock(run):
                yield registry

    def locked_runs(self) -> list[str]:
        """Return every run that a running process has locked, in any registry.

        Raises: WorkspaceUnusable, if a lock cannot be checked.
        """
        from lori_cl.registry.run_lock import locked_runs

        return locked_runs(self.path("locks"))

    def other_registries(self) -> list[str]:
        """Return the other registries that keep, or kept, runs in this workspace.

        Raises: WorkspaceUnusable, if the list of them cannot be read.
        """
        own = self.root / DATABASE
        known = listed_registries(self.path(REGISTRIES_FILE)) | (
            {self.relative(own)} if own.exists() else set()
        )
        return sorted(known - {self._registry_name()})

    def _registry_name(self) -> str:
        """Return the registry's URL without password, or its file as `relative` writes it."""
        url = parse_url(self._url())
        file = sqlite_file(url)
        return display_name(url) if file is None else self.relative(file)

    def folder_of(self, declared_in: str) -> Path:
        """Return the folder of a task file, from the form stored in the registry.

        Raises: WorkspaceUnusable, if it is a relative path that leads out of the workspace.
        """
        return Path(declared_in) if Path(declared_in).is_absolute() else self.path(declared_in)

    def source_folder(self, task: Task) -> Path:
        """The folder that a task's data is looked up in; splits that are artifacts are checked first.

        Raises: ArtifactMissing; ArtifactDamaged; WorkspaceUnusable, as `folder_of` does.
        """
        if task.declared_in == ARTIFACTS:
            held_out = task.spec["eval"]
            own = [] if held_out.get("fraction") is not None else [held_out["split"]]
            for split in (task.spec["train"]["split"], *own):
                self.artifacts.get(split, "jsonl")
        return self.folder_of(task.declared_in)

    def relative(self, path: Path) -> str:
        """Return a path as the registry stores it: relative to the workspace if it is inside."""
        path, root = path.resolve(), self.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def _url(self, *, writes: bool = False) -> str | URL:
        """Return the URL of the registry, after checking the links of SQLite's files in the workspace.

        A database outside the workspace, given by the user, is not checked.
        Raises: WorkspaceUnusable, if a link leads out of the workspace, or a file to be written has several
        hard links.
        """
        url = self.url or URL.create("sqlite", database=str(self.root / DATABASE))
        file = sqlite_file(parse_url(url))
        if file is not None and file.absolute().is_relative_to(self.root.absolute()):
            for path in (file, *(file.with_name(f"{file.name}{ending}") for ending in SQLITE_FILES)):
                require_inside(self.root, path)
                if writes:
                    require_own_file(path)
        return url
