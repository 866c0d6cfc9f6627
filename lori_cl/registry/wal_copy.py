"""A private copy of a SQLite file and its write-ahead log.

SQLite reads a log with the help of a `-shm` file beside it. Where that file is missing and cannot be created,
as on a read-only mount, SQLite opens nothing; in the copy's folder it can be created.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lori_cl.errors import WorkspaceUnusable

COPIES = 100
"""How often the files are copied again because they were written meanwhile."""

Stamp = tuple[tuple[int, int] | None, ...]


class WalCopy:
    """Copies a database file and its log when they have changed since the last copy."""

    def __init__(self, path: Path) -> None:
        self._files = (path, path.with_name(f"{path.name}-wal"))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copied: Stamp | None = None

    def path(self) -> Path:
        """The copy of the database file, as new as the original.

        Raises: WorkspaceUnusable, if there is no room for it, or another process keeps writing.
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
            for _ in range(COPIES):
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
                f"{self._files[0]} has a write-ahead log that can only be read in a copy, and copying it to "
                f"{tempfile.gettempdir()} failed: {error.strerror}; set TMPDIR to a folder with room"
            ) from error
        self.close()
        raise WorkspaceUnusable(f"{self._files[0]} was written {COPIES} times while it was copied; try again")

    def _stamp(self) -> Stamp:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int] | None:
    """Time and size of a file; None where there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
