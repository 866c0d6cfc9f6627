"""A copy of a registry, before it is changed."""

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
from lori_cl.registry.connect import shown, sqlite_file
from lori_cl.registry.database import LOCK_TIMEOUT_MS
from lori_cl.registry.server_settings import connection_options

log = logging.getLogger(__name__)

NOTICE_S = 5.0
"""Seconds between two lines about a backup under way."""
DUMP_STALLS_S = 60.0
"""How long pg_dump may write nothing."""

OTHERWISE = "Back it up by other means, and then: lori-cl registry upgrade --no-backup"


def back_up(url: URL, schema: str, folder: Path) -> Path:
    """Copy a registry into a new file: a SQLite file beside itself, what a server keeps into the folder.

    Raises: WorkspaceUnusable, if it cannot be copied; then no file is left.
    """
    version = f"schema-{schema}-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    path = sqlite_file(url)
    target = folder / f"registry-{version}.dump" if path is None else path.with_stem(f"{path.stem}-{version}")
    with _new(target):
        if path is None:
            _dump(url, target)
        else:
            _copy(path, target)
    return target


@contextmanager
def _new(target: Path) -> Iterator[None]:
    try:
        target.touch(exist_ok=False)
    except OSError as error:
        raise WorkspaceUnusable(f"{target} cannot be made: {error.strerror}") from error
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
            f"{shown(url)} cannot be backed up: a PostgreSQL registry needs pg_dump on the PATH. {OTHERWISE}"
        )
    address = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    address = address.update_query_dict({k: str(v) for k, v in connection_options(url).items()})
    password = {"PGPASSWORD": url.password} if url.password else {}  # every process sees another's arguments
    wait = f"--lock-wait-timeout={LOCK_TIMEOUT_MS}"
    command = [program, "--format=custom", wait, f"--file={target}", f"--dbname={address.render_as_string()}"]
    with tempfile.TemporaryFile() as errors:
        code = _run(command, {**os.environ, **password}, errors, target, shown(url))
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip().splitlines()[-1:]
    if code:
        raise WorkspaceUnusable(f"{shown(url)} cannot be backed up: {''.join(words)}. {OTHERWISE}")


def _run(
    command: list[str], environment: dict[str, str], errors: IO[bytes], target: Path, database: str
) -> int:
    """The exit code of pg_dump.

    Raises: WorkspaceUnusable, if its file does not grow for too long.
    """
    process = subprocess.Popen(  # noqa: S603 (PostgreSQL's own program)
        command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
    )
    size, since = -1, monotonic()
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=NOTICE_S)
            now, before = target.stat().st_size, size
            size, since = now, since if now == before else monotonic()
            log.warning("backing up %s: %s bytes so far", database, f"{size:,}")
            if monotonic() - since >= DUMP_STALLS_S:
                raise WorkspaceUnusable(
                    f"{database} cannot be backed up: pg_dump wrote nothing for {DUMP_STALLS_S:.0f} s, so "
                    f"the server may be frozen; the registry is unchanged. Try again later. {OTHERWISE}"
                )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
