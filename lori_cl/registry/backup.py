"""Backups of a registry before an upgrade."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import IO

from sqlalchemy.engine import URL

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.connect import display_name, sqlite_file
from lori_cl.registry.database import LOCK_TIMEOUT_MS
from lori_cl.registry.server_settings import connection_options

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0
"""Seconds between two log lines while a backup runs."""
DUMP_STALL_LIMIT_S = 60.0
"""Seconds without output after which pg_dump is ended."""

MANUAL_BACKUP = "Back it up by other means, then run: lori-cl registry upgrade --no-backup"


def back_up(url: URL, schema: str, folder: Path) -> Path:
    """Copy a registry into a new file: next to a SQLite file, or in the folder for a server database.

    Raises: WorkspaceUnusable, if it cannot be copied; no partial file is left.
    """
    version = f"schema-{schema}-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    path = sqlite_file(url)
    target = folder / f"registry-{version}.dump" if path is None else path.with_stem(f"{path.stem}-{version}")
    with _new_file(target):
        if path is None:
            _dump(url, target)
        else:
            _copy(path, target)
    return target


@contextmanager
def _new_file(target: Path) -> Iterator[None]:
    try:
        target.touch(exist_ok=False)
    except OSError as error:
        raise WorkspaceUnusable(f"{target} cannot be created: {error.strerror}") from error
    try:
        yield
    except BaseException:
        target.unlink()
        raise


def _copy(path: Path, target: Path) -> None:
    shutil.copymode(path, target)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        try:
            source.backup(copy)
        except sqlite3.Error as error:
            raise WorkspaceUnusable(f"{target} cannot be written: {error}") from error


def _dump(url: URL, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None or url.get_backend_name() != "postgresql":
        raise WorkspaceUnusable(
            f"{display_name(url)} cannot be backed up: a PostgreSQL registry needs pg_dump on "
            f"the PATH. {MANUAL_BACKUP}"
        )
    address = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    address = address.update_query_dict({k: str(v) for k, v in connection_options(url).items()})
    password = {"PGPASSWORD": url.password} if url.password else {}  # other processes can see the arguments
    wait = f"--lock-wait-timeout={LOCK_TIMEOUT_MS}"
    command = [program, "--format=custom", wait, f"--file={target}", f"--dbname={address.render_as_string()}"]
    with tempfile.TemporaryFile() as errors:
        code = _run(command, {**os.environ, **password}, errors, target, display_name(url))
        errors.seek(0)
        last_line = errors.read().decode(errors="replace").strip().splitlines()[-1:]
    if code:
        raise WorkspaceUnusable(
            f"{display_name(url)} cannot be backed up: {''.join(last_line)}. {MANUAL_BACKUP}"
        )


def _run(
    command: list[str], environment: dict[str, str], errors: IO[bytes], target: Path, database: str
) -> int:
    """Run pg_dump and return its exit code.

    Raises: WorkspaceUnusable, if its file does not grow for `DUMP_STALL_LIMIT_S`.
    """
    process = subprocess.Popen(  # noqa: S603 (PostgreSQL's own program)
        command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
    )
    size, since = -1, monotonic()
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=LOG_INTERVAL_S)
            now, before = target.stat().st_size, size
            size, since = now, since if now == before else monotonic()
            log.warning("backing up %s: %s bytes so far", database, f"{size:,}")
            if monotonic() - since >= DUMP_STALL_LIMIT_S:
                raise WorkspaceUnusable(
                    f"{database} cannot be backed up: pg_dump wrote nothing for {DUMP_STALL_LIMIT_S:.0f} s, "
                    f"so the server may be frozen; the registry is unchanged. Try again later. "
                    f"{MANUAL_BACKUP}"
                )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
