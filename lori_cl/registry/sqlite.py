"""SQLite databases in WAL mode, and readers that create no files."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.database import LOCK_TIMEOUT_MS, LOCKED, WRITES, Database, T, reason
from lori_cl.registry.wal_copy import WalCopy

log = logging.getLogger(__name__)

MAX_READ_ATTEMPTS = 100
"""Maximum number of reads of a file without a log that is written meanwhile. A second read is rare."""


class SharedDialect(SQLiteDialect_pysqlite):
    """SQLAlchemy's dialect of SQLite; all instances are equal, so that engines share compiled statements."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedDialect)

    def __hash__(self) -> int:
        return hash(SharedDialect)


DRIVER = "sqlite+lori_cl"
dialects.register("sqlite.lori_cl", __name__, SharedDialect.__name__)

SHARED: Mapping[str, Any] = {"compiled_cache": {}}
"""Options of every engine. Compiling a statement costs more than running it, and a process opens many."""


class _CheckedDatabase(Database):
    """A database with SQLite's integrity check."""

    def damage(self) -> list[str]:
        """Check pages, indexes and foreign keys."""
        return self.read(_damage)


class SqliteFile(_CheckedDatabase):
    """A SQLite file, open for writing; closing it moves the log into the file."""

    def __init__(self, url: URL, display_name: str) -> None:
        engine = create_engine(url.set(drivername=DRIVER), execution_options=SHARED)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        super().__init__(engine, display_name)

    def prepare(self) -> None:
        """Set SQLite's WAL mode, which is stored in the file."""
        connection = self.engine.raw_connection()
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT_MS / 1000
            while True:
                try:
                    connection.cursor().execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.Error as error:  # this pragma ignores the busy timeout
                    if not _is_busy(error) or time.monotonic() > deadline:
                        cause = LOCKED if _is_busy(error) else error
                        raise WorkspaceUnusable(f"{self.display_name} cannot be written: {cause}") from error
                    time.sleep(0.05)
        finally:
            connection.close()

    def close(self) -> None:
        """Move the log into the file, and close it."""
        try:
            if not _checkpoint(self.engine):
                log.warning(
                    "%s: in use by another process, so the last changes stay in %s-wal until its last "
                    "writer closes it; copy or commit both files",
                    self.display_name,
                    self.display_name,
                )
        except (SQLAlchemyError, sqlite3.Error) as error:
            # Only a warning: no data is lost, and an error here would hide the one that ended the command.
            log.warning(
                "%s: the last changes stay in %s-wal, because they could not be moved into the file: %s; "
                "copy or commit both files",
                self.display_name,
                self.display_name,
                reason(error) if isinstance(error, SQLAlchemyError) else error,
            )
        finally:
            super().close()


class ReadOnlySqliteFile(_CheckedDatabase):
    """A SQLite file, open for reading only.

    Without a log, it is opened as immutable: otherwise SQLite would create two files next to it. SQLite then
    does not detect writes by other processes, so this class does. With a log, it is read concurrently with
    the writer, or from a private copy if SQLite cannot create its `-shm` file.
    """

    def __init__(self, path: Path, display_name: str) -> None:
        super().__init__(_reader(path, "mode=ro&immutable=1"), display_name)
        self._concurrent_reader = _reader(path, "mode=ro")
        self._path = path
        self._log_file = path.with_name(path.name + "-wal")
        self._copy = WalCopy(path)

    def release(self) -> None:
        """Close every connection and delete the copy."""
        super().release()
        self._copy.close()

    def _read(self, work: Callable[[Session], T]) -> T:
        for _ in range(MAX_READ_ATTEMPTS):
            if _is_nonempty(self._log_file):
                return self._read_with_log(work)
            before = _last_written(self._path)
            try:
                found = super()._read(work)
            except Exception:  # a file that is being written can cause any error
                if _last_written(self._path) == before:
                    raise
            else:
                if _last_written(self._path) == before:
                    return found
        raise WorkspaceUnusable(
            f"{self.display_name} was written {MAX_READ_ATTEMPTS} times while it was read; try again"
        )

    def _read_with_log(self, work: Callable[[Session], T]) -> T:
        try:
            with Session(self._concurrent_reader) as session:
                return work(session)
        except OperationalError as error:
            if not _needs_copy(error):
                raise
        with Session(_reader(self._copy.path(), "mode=ro")) as session:
            return work(session)


def _damage(session: Session) -> list[str]:
    connection = session.connection()
    pages = connection.exec_driver_sql("PRAGMA integrity_check(3)").scalars()
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    return [
        *(str(line) for line in pages if line != "ok"),
        *(f"row {row} of {table} refers to a missing row of {other}" for table, row, other, _ in broken),
    ]


def _reader(path: Path, options: str) -> Engine:
    uri = f"{path.resolve().as_uri()}?{options}"
    # One connection per transaction: a connection to an immutable file caches its pages.
    connect = partial(sqlite3.connect, uri, uri=True, timeout=LOCK_TIMEOUT_MS / 1000)
    return create_engine(f"{DRIVER}://", creator=connect, poolclass=NullPool, execution_options=SHARED)


def _needs_copy(error: OperationalError) -> bool:
    """Whether SQLite could not create or write the `-shm` file."""
    name = getattr(error.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _is_nonempty(log_file: Path) -> bool:
    try:
        return log_file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _last_written(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _checkpoint(engine: Engine) -> bool:
    """Move the log into the file; return False if another process prevents it."""
    with engine.connect() as connection:
        connection.rollback()  # a checkpoint cannot run inside a transaction
        raw = connection.connection.cursor()
        raw.execute("PRAGMA busy_timeout = 2000")
        busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _begin(connection: Connection) -> None:
    mode = "IMMEDIATE" if connection.get_execution_options().get(WRITES) else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {mode}")


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # `_begin` starts transactions; sqlite3 would not before SELECT or DDL
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_MS}")
    cursor.execute("PRAGMA synchronous = FULL")  # a committed stage must survive a power failure
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
