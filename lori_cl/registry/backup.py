"""A copy of a registry, before it is changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.connect import shown, sqlite_file

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
    password = {"PGPASSWORD": url.password} if url.password else {}  # every process sees another's arguments
    done = subprocess.run(  # noqa: S603 (PostgreSQL's own program)
        [program, "--format=custom", f"--file={target}", f"--dbname={address.render_as_string()}"],
        env={**os.environ, **password},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:]
        raise WorkspaceUnusable(f"{shown(url)} cannot be backed up: {''.join(words)}. {OTHERWISE}")
