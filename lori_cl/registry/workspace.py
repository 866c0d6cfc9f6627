"""A workspace: a folder with registry.db, tasks/, artifacts/ and locks/."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.artifacts import ArtifactStore
from lori_cl.registry.aside import SetAside
from lori_cl.registry.connect import parse_url, shown, sqlite_file
from lori_cl.registry.noting import note, noted
from lori_cl.registry.records import Run
from lori_cl.registry.registry import Registry
from lori_cl.registry.safe_paths import (
    require_file_name,
    require_inside,
    require_own_file,
    require_tree_inside,
)

if TYPE_CHECKING:
    from lori_cl.registry.upgrade import Upgrade

DATABASE = "registry.db"

SQLITE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite's files beside a database end in."""

NOTED = "registries.txt"
"""Where the registries stand that are not registry.db."""


@dataclass(frozen=True)
class Workspace:
    """Where a team's tasks and runs live."""

    root: Path
    url: str | None = field(default=None, repr=False)
    """Another database than registry.db, as a SQLAlchemy URL, which may hold a password."""

    @property
    def artifacts(self) -> ArtifactStore:
        """The workspace's files."""
        return ArtifactStore(self.place("artifacts"), self.root)

    def place(self, *parts: str) -> Path:
        """A path in the workspace.

        Raises: WorkspaceUnusable, if it leads out of it: what is written there would be written elsewhere.
        """
        path = self.root.joinpath(*parts)
        require_inside(self.root, path)
        return path

    @property
    def checkpoints(self) -> Path:
        """Folders by the names of runs: the stage that a run is in the middle of, until that is committed."""
        return self.place("checkpoints")

    def checkpoints_of(self, run: str) -> Path:
        """Where a run keeps its checkpoints.

        Raises: WorkspaceUnusable, if the folder, or a link in it, leads out of the workspace.
        """
        return self._tree("checkpoints", run)

    def logs_of(self, run: str) -> Path:
        """Where the loggers of a run write.

        Raises: WorkspaceUnusable, if the folder, or a link in it, leads out of the workspace.
        """
        return self._tree("logs", run)

    def _tree(self, folder: str, run: str) -> Path:
        path = self.place(folder, require_file_name(run))
        require_tree_inside(self.root, path)
        return path

    def aside(self, run: str) -> Path:
        """Where the stage of a run is kept that is not accepted."""
        return self.place("aside", f"{require_file_name(run)}.json")

    def set_aside(self, run: Run) -> SetAside | None:
        """The stage after the run's last one, where it was learned on those before it and not accepted.

        Raises: ArtifactDamaged.
        """
        kept = SetAside.read(self.aside(run.name))
        return kept if kept is not None and kept.follows(run) else None

    def create(self) -> bool:
        """Make the folders and the registry; False where the registry was there already.

        Raises: WorkspaceUnusable, if the folder cannot be written.
        """
        try:
            for folder in (self.root, self.place("tasks"), self.place("artifacts")):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnusable(f"{self.root} cannot be made: {error.strerror}") from error
        return Registry.create(self._url(writes=True))

    def upgrade(self, *, backup: bool = True) -> Upgrade:
        """Bring a registry of an earlier schema up to date; a backup of it is made first.

        Raises: WorkspaceUnusable, if there is no registry, or it cannot be backed up or written;
        RegistryTooNew.
        """
        from lori_cl.registry.upgrade import upgrade  # Alembic comes with it

        return upgrade(parse_url(self._url(writes=True)), self.root, backup=backup)

    def open(self) -> Registry:
        """The registry, for writing.

        That it is used here is noted: to another one its files would look like nobody's.
        Raises: WorkspaceUnusable, if there is none, or it cannot be written; RegistryTooNew.
        """
        registry = Registry.open(self._url(writes=True), read_only=False)
        try:
            if self._registry_name() != DATABASE:
                note(self.place(NOTED), self._registry_name())
        except BaseException:
            registry.close()
            raise
        return registry

    def read(self) -> Registry:
        """The registry, for reading; leaves no file behind.

        Raises: WorkspaceUnusable, if there is none; RegistryTooNew.
        """
        return Registry.open(self._url(), read_only=True)

    def check_places(self, run: str) -> None:
        """Make sure, before anything is trained, that all that a run writes stays in the workspace.

        Raises: WorkspaceUnusable, if a link leads out of it, or the run's name is a path.
        """
        for place in (self.checkpoints_of, self.logs_of, self.aside):
            place(run)
        require_inside(self.root, self.artifacts.folder)

    def hold(self, run: str) -> AbstractContextManager[None]:
        """Let no other process write this run until the context ends; every command that writes it holds it.

        Raises: RunConflict, saying which process holds it; WorkspaceUnusable, if the lock cannot be written.
        """
        from lori_cl.registry.holding import hold  # readers need not wait for what it imports

        return hold(self.place("locks"), run)

    @contextmanager
    def open_held(self, run: str) -> Iterator[Registry]:
        """The registry, for writing a run that is there, which no other process writes meanwhile.

        Raises: UnknownRun; see also `open` and `hold`.
        """
        with self.open() as registry:
            registry.run(run)  # of one that is unknown there is nothing to hold
            with self.hold(run):
                yield registry

    def held_runs(self) -> list[str]:
        """Every run that a living process holds, in whichever registry it stands.

        Raises: WorkspaceUnusable, if a lock cannot be asked.
        """
        from lori_cl.registry.holding import held_runs

        return held_runs(self.place("locks"))

    def other_registries(self) -> list[str]:
        """The registries but this one that keep runs in this workspace, or did.

        Raises: WorkspaceUnusable, if the list of them cannot be read.
        """
        own = self.root / DATABASE
        known = noted(self.place(NOTED)) | ({self.relative(own)} if own.exists() else set())
        return sorted(known - {self._registry_name()})

    def _registry_name(self) -> str:
        """Without a password; a file is named as the registry keeps one."""
        url = parse_url(self._url())
        file = sqlite_file(url)
        return shown(url) if file is None else self.relative(file)

    def folder_of(self, declared_in: str) -> Path:
        """The folder that a task was declared in.

        Raises: WorkspaceUnusable, if it is a relative path that leads out of the workspace.
        """
        return Path(declared_in) if Path(declared_in).is_absolute() else self.place(declared_in)

    def relative(self, path: Path) -> str:
        """A folder as the registry keeps it, or a file: relative where it lies in the workspace."""
        path, root = path.resolve(), self.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def _url(self, *, writes: bool = False) -> str | URL:
        """Where the registry is, once it is clear that SQLite's files are in the workspace.

        Raises: WorkspaceUnusable, if one is a link that leads out of it, or is to be written and has a second
        name. A database that the user names elsewhere is the user's affair.
        """
        url = self.url or URL.create("sqlite", database=str(self.root / DATABASE))
        file = sqlite_file(parse_url(url))
        if file is not None and file.absolute().is_relative_to(self.root.absolute()):
            for path in (file, *(file.with_name(f"{file.name}{ending}") for ending in SQLITE_FILES)):
                require_inside(self.root, path)
                if writes:
                    require_own_file(path)
        return url
