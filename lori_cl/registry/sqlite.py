"""SQLite: a log beside the file while somebody writes, and readers that leave no file behind."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.database import KEPT, LOCK_TIMEOUT_MS, WRITES, Database, T, reason
from lori_cl.registry.wal_copy import WalCopy

log = logging.getLogger(__name__)

READINGS = 100
"""How often a file at rest is read again because it was written meanwhile. Once is rare."""


class _Checked(Database):
    """A database that SQLite can look over."""

    def damage(self) -> list[str]:
        """Pages, indexes, and rows that refer to nothing."""
        return self.read(_damage)


class SqliteFile(_Checked):
    """A SQLite file, open for writing. Closed, the file alone holds everything."""

    def __init__(self, url: URL, shown: str) -> None:
        engine = create_engine(url)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        super().__init__(engine, shown)

    def prepare(self) -> None:
        """Set SQLite's WAL mode, which the file remembers."""
        connection = self.engine.raw_connection()
        try:
            give_up = time.monotonic() + LOCK_TIMEOUT_MS / 1000
            while True:
                try:
                    connection.cursor().execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.Error as error:  # this pragma alone does not wait for others
                    if not _is_busy(error) or time.monotonic() > give_up:
                        why = KEPT if _is_busy(error) else error
                        raise WorkspaceUnusable(f"{self.shown} cannot be written: {why}") from error
                    time.sleep(0.05)
        finally:
            connection.close()

    def close(self) -> None:
        """Fold the log into the file, and let go of it."""
        try:
            if not _fold_log(self.engine):
                log.warning(
                    "%s: another process is at it, so the last changes stay in %s-wal until one that writes "
                    "ends alone; copy or commit both",
                    self.shown,
                    self.shown,
                )
        except (SQLAlchemyError, sqlite3.Error) as error:
            # Only a warning: nothing is lost, and an error here would replace the one that ended the command.
            log.warning(
                "%s: the last changes stay in %s-wal, since they could not be moved into the file: %s; "
                "copy or commit both",
                self.shown,
                self.shown,
                reason(error) if isinstance(error, SQLAlchemyError) else error,
            )
        finally:
            super().close()


class SqliteFileToRead(_Checked):
    """A SQLite file that is only read.

    At rest, without a log, it is read as immutable, since anything else would make two files beside it.
    SQLite then does not look whether another process writes, so that is looked at here. With a log, it is
    read beside the writer, or, where SQLite cannot create its `-shm` file, in a private copy.
    """

    def __init__(self, path: Path, shown: str) -> None:
        super().__init__(_reader(path, "mode=ro&immutable=1"), shown)
        self._beside_a_writer = _reader(path, "mode=ro")
        self._path = path
        self._log_file = path.with_name(path.name + "-wal")
        self._copy = WalCopy(path)

    def release(self) -> None:
        """Close every connection, and delete the copy."""
        super().release()
        self._copy.close()

    def _read(self, work: Callable[[Session], T]) -> T:
        for _ in range(READINGS):
            if _holds_something(self._log_file):
                return self._read_with_log(work)
            before = _last_written(self._path)
            try:
                found = super()._read(work)
            except Exception:  # of what is half written, anything may be said
                if _last_written(self._path) == before:
                    raise
            else:
                if _last_written(self._path) == before:
                    return found
        raise WorkspaceUnusable(f"{self.shown} was written {READINGS} times while it was read; call it again")

    def _read_with_log(self, work: Callable[[Session], T]) -> T:
        try:
            with Session(self._beside_a_writer) as session:
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
        *(f"row {row} of {table} refers to no row of {other}" for table, row, other, _ in broken),
    ]


def _reader(path: Path, options: str) -> Engine:
    uri = f"{path.resolve().as_uri()}?{options}"
    # A connection for every transaction: one to an immutable file remembers what it has read.
    connect = partial(sqlite3.connect, uri, uri=True, timeout=LOCK_TIMEOUT_MS / 1000)
    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _needs_copy(error: OperationalError) -> bool:
    """Whether SQLite could not create or write the `-shm` file."""
    name = getattr(error.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _holds_something(log_file: Path) -> bool:
    try:
        return log_file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _last_written(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _fold_log(engine: Engine) -> bool:
    """False if another process is in the way."""
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
    connection.isolation_level = None  # `_begin` begins; sqlite3 would not before a SELECT or DDL
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_MS}")
    cursor.execute("PRAGMA synchronous = FULL")  # a committed stage must survive a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
