"""A workspace: a folder with registry.db, tasks/ and artifacts/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.artifacts import ArtifactStore, require_inside
from lori_cl.registry.registry import Registry


@dataclass(frozen=True)
class Workspace:
    """Where a team's tasks and runs live."""

    root: Path
    url: str | None = None
    """Another database than registry.db, as a SQLAlchemy URL."""

    @property
    def artifacts(self) -> ArtifactStore:
        """The workspace's files."""
        return ArtifactStore(self.place("artifacts"))

    def place(self, *parts: str) -> Path:
        """A path in the workspace.

        Raises: WorkspaceUnusable, if it leads out of it: what is written there would be written elsewhere.
        """
        path = self.root.joinpath(*parts)
        require_inside(self.root, path)
        return path

    def create(self) -> bool:
        """Make the folders and the registry; False where the registry was there already.

        Raises: WorkspaceUnusable, if the folder cannot be written.
        """
        try:
            for folder in (self.root, self.place("tasks"), self.place("artifacts")):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceUnusable(f"{self.root} cannot be made: {error.strerror}") from error
        return Registry.create(self._url())

    def open(self) -> Registry:
        """The registry, for writing.

        Raises: WorkspaceUnusable, if there is none, or it cannot be written; RegistryTooNew.
        """
        return Registry.open(self._url(), read_only=False)

    def read(self) -> Registry:
        """The registry, for reading; leaves no file behind.

        Raises: WorkspaceUnusable, if there is none; RegistryTooNew.
        """
        return Registry.open(self._url(), read_only=True)

    def folder_of(self, declared_in: str) -> Path:
        """The folder that a task was declared in.

        Raises: WorkspaceUnusable, if it is a relative path that leads out of the workspace.
        """
        return Path(declared_in) if Path(declared_in).is_absolute() else self.place(declared_in)

    def relative(self, folder: Path) -> str:
        """A folder as the registry keeps it: relative where it lies in the workspace."""
        folder, root = folder.resolve(), self.root.resolve()
        return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)

    def _url(self) -> str | URL:
        return self.url or URL.create("sqlite", database=str(self.place("registry.db")))
