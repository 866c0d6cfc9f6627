"""A private copy of a SQLite file and its write-ahead log.

SQLite needs a `-shm` file to read a log. If that file is missing and cannot be created, as on a read-only
mount, SQLite cannot open the database; in the folder of the copy it can be created.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lori_cl.errors import WorkspaceUnusable

MAX_COPY_ATTEMPTS = 100
"""Maximum number of copies of files that are written during the copy."""

Stamp = tuple[tuple[int, int] | None, ...]


class WalCopy:
    """Copies a database file and its log when they have changed since the last copy."""

    def __init__(self, path: Path) -> None:
        self._files = (path, path.with_name(f"{path.name}-wal"))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copied: Stamp | None = None

    def path(self) -> Path:
        """Return the path of an up-to-date copy of the database file.

        Raises: WorkspaceUnusable, if there is no disk space, or another process keeps writing.
        """
        if self._folder is None or self._copied != self._stamp():
            self._copy()
        assert self._folder is not None
        return Path(self._folder.name, self._files[0].name)

    def close(self) -> None:
        """Delete the copy."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _copy(self) -> None:
        self.close()
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="lori-cl-")
            for _ in range(MAX_COPY_ATTEMPTS):
                before = self._stamp()
                for file in self._files:
                    if file.exists():
                        shutil.copyfile(file, Path(self._folder.name, file.name))
                if before == self._stamp():
                    self._copied = before
                    return
        except OSError as error:
            self.close()
            raise WorkspaceUnusable(
                f"{self._files[0]} has a write-ahead log that can only be read from a copy, and copying to "
                f"{tempfile.gettempdir()} failed: {error.strerror}; set TMPDIR to a folder with free space"
            ) from error
        self.close()
        raise WorkspaceUnusable(
            f"{self._files[0]} was written {MAX_COPY_ATTEMPTS} times while it was copied; try again"
        )

    def _stamp(self) -> Stamp:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return the modification time and size of a file; None if it does not exist."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
