"""The lock of a run: only one process at a time can write it."""

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

LOCK_TIMEOUT_S = 1.0
"""How long to wait: `locked_runs` takes each lock briefly, and a holder writes its note after locking."""


@contextmanager
def lock_run(locks: Path, run: str) -> Iterator[None]:
    """Lock a run until the context exits. The kernel releases the lock when the process ends.

    Raises: RunConflict, naming the process that holds the lock; WorkspaceUnusable, if the folder of locks
    cannot be written.
    """
    lock, note = _lock(locks, run), _note(locks, run)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S)
        with open_inside(locks, note, "w") as file:
            file.write(json.dumps(_this_process()))
    except Timeout:
        raise RunConflict(
            f"run '{run}' is locked by {_holder(note)}; wait until it ends or stop it, "
            "then repeat the command"
        ) from None
    except OSError as error:
        lock.release()
        raise WorkspaceUnusable(_lock_error(locks, error)) from error
    except WorkspaceUnusable:
        lock.release()
        raise
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def locked_runs(locks: Path) -> list[str]:
    """Return every run that a running process has locked.

    Raises: WorkspaceUnusable, if a lock cannot be checked.
    """
    runs = (unquote(lock.stem) for lock in sorted(locks.glob("*.lock")))
    return [run for run in runs if _is_locked(_lock(locks, run))]


def _is_locked(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise WorkspaceUnusable(_lock_error(Path(lock.lock_file), error)) from error


def _lock_error(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
        return (
            f"{path} is on a file system without flock ({error.strerror}), so two processes could write "
            "the same run; put the workspace on another file system: --workspace"
        )
    return f"{path} cannot be written: {error.strerror}"


def _lock(locks: Path, run: str) -> FileLock:
    file = locks / f"{_file_name(run)}.lock"
    require_inside(locks, file)
    # Without flock, the lock file of a killed process would lock the run permanently.
    return FileLock(file, fallback_to_soft=False)


def _note(locks: Path, run: str) -> Path:
    """Return the file that names the process holding the lock; it is valid only while the lock is held."""
    return locks / f"{_file_name(run)}.json"


def _file_name(run: str) -> str:
    return quote(run, safe="")  # only names that the CLI does not allow are changed


def _this_process() -> dict[str, object]:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"pid": os.getpid(), "host": platform.node(), "since": since}


def _holder(note: Path) -> str:
    try:
        with open_inside(note.parent, note, "r") as file:
            holder = json.load(file)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, LookupError, TypeError, WorkspaceUnusable):
        return "another process"  # it has not written its note yet
