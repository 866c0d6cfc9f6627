"""One process at a time writes a run."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from lori_cl.errors import RunConflict, WorkspaceUnusable
from lori_cl.registry.safe_paths import open_inside, require_inside

PATIENCE_S = 1.0
"""`held_runs` holds a lock for a moment, and a holder needs one to say who it is."""


@contextmanager
def hold(locks: Path, run: str) -> Iterator[None]:
    """Hold a run until the context ends. The lock is the kernel's: it ends with its process, in whatever way.

    Raises: RunConflict, saying who holds it; WorkspaceUnusable, if the folder of locks cannot be written.
    """
    lock, note = _lock(locks, run), _note(locks, run)
    try:
        lock.acquire(timeout=PATIENCE_S)
        with open_inside(locks, note, "w") as file:
            file.write(json.dumps(_this_process()))
    except Timeout:
        raise RunConflict(
            f"run '{run}' is held by {_holder(note)}; wait until that ends, or end it, and call it again"
        ) from None
    except OSError as error:
        lock.release()
        raise WorkspaceUnusable(_why_not(locks, error)) from error
    except WorkspaceUnusable:
        lock.release()
        raise
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def held_runs(locks: Path) -> list[str]:
    """Every run that a living process holds.

    Raises: WorkspaceUnusable, if a lock cannot be asked.
    """
    runs = (unquote(lock.stem) for lock in sorted(locks.glob("*.lock")))
    return [run for run in runs if _is_held(_lock(locks, run))]


def _is_held(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise WorkspaceUnusable(_why_not(Path(lock.lock_file), error)) from error


def _why_not(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
        return (
            f"{path} lies on a file system without flock ({error.strerror}), so two processes could write "
            "one run; use a workspace on another file system: --workspace"
        )
    return f"{path} cannot be written: {error.strerror}"


def _lock(locks: Path, run: str) -> FileLock:
    file = locks / f"{_file_name(run)}.lock"
    require_inside(locks, file)
    # Without flock, a lock file that a killed process leaves behind would lock the run permanently.
    return FileLock(file, fallback_to_soft=False)


def _note(locks: Path, run: str) -> Path:
    """The file that says who holds the run, which is true while its lock is held."""
    return locks / f"{_file_name(run)}.json"


def _file_name(run: str) -> str:
    return quote(run, safe="")  # as it is, but where the library's caller named it otherwise than a user may


def _this_process() -> dict[str, object]:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"pid": os.getpid(), "host": platform.node(), "since": since}


def _holder(note: Path) -> str:
    try:
        with open_inside(note.parent, note, "r") as file:
            holder = json.load(file)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, LookupError, TypeError, WorkspaceUnusable):  # it has not come to that yet
        return "another process"
