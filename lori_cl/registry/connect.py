"""Engines: SQLite in WAL mode for writers, a reader that leaves no file behind, or any other database."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

import lori_cl
from lori_cl.errors import RegistryTooNew, WorkspaceUnusable
from lori_cl.registry.tables import SCHEMA

BUSY_TIMEOUT_MS = 30_000

WRITES = "lori_cl_writes"
"""The execution option of a transaction that takes the write lock at its begin."""


def parse_url(url: str | URL) -> URL:
    """A SQLAlchemy URL.

    Raises: WorkspaceUnusable, without repeating the text, which may hold a password.
    """
    try:
        parsed = make_url(url)
        dialect = parsed.get_dialect()
        dialect.import_dbapi()
        dialect().create_connect_args(parsed)
        if parsed.get_backend_name() == "sqlite" and not parsed.database:
            raise ValueError("a database in memory forgets everything")
        if "@" in (parsed.host or ""):
            raise ValueError("an @ in the password is written %40")
    except ImportError as error:
        raise WorkspaceUnusable(
            f"the registry's URL needs a driver that is not installed: pip install {error.name}"
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise WorkspaceUnusable(
            "the registry's URL is not one SQLAlchemy knows; for instance sqlite:////data/registry.db "
            "or postgresql+psycopg://user@host/name (an @ in the password is written %40)"
        ) from error
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The file behind a SQLite URL, or None for another database."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def writing_engine(url: URL) -> Engine:
    """An engine for writers."""
    engine = create_engine(url)
    if sqlite_file(url) is not None:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def keep_a_log(engine: Engine) -> None:
    """Set SQLite's WAL mode, which the file remembers."""
    connection = engine.raw_connection()
    try:
        give_up = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:  # this pragma alone does not wait for another process
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
    finally:
        connection.close()


def fold_log(engine: Engine) -> bool:
    """Fold SQLite's log into the file, so that the file alone holds all; False if a reader is in the way."""
    with engine.connect() as connection:
        connection.rollback()  # a checkpoint cannot run inside a transaction
        raw = connection.connection.cursor()
        raw.execute("PRAGMA busy_timeout = 2000")
        busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def reading_engine(url: URL) -> Engine:
    """An engine for readers; a SQLite file at rest is read as immutable, since WAL would make two files."""
    path = sqlite_file(url)
    if path is None:
        return create_engine(url)
    log = path.with_name(path.name + "-wal")
    at_rest = not log.exists() or log.stat().st_size == 0
    uri = f"{path.resolve().as_uri()}?{'mode=ro&immutable=1' if at_rest else 'mode=ro'}"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, check_same_thread=False),
        poolclass=QueuePool,
    )


def damage(engine: Engine) -> list[str]:
    """What SQLite itself finds wrong with its file: pages, indexes, rows that refer to nothing.

    Empty for any other database, which looks after its own.
    """
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        pages = [
            str(line) for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(3)") if line != "ok"
        ]
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    return [*pages, *(f"row {row} of {table} refers to no row of {other}" for table, row, other, _ in broken)]


def check_schema(engine: Engine, shown: str) -> str | None:
    """The registry's schema, or None where there is no registry in the database.

    Raises: RegistryTooNew, naming both versions and what to do.
    """
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        schema = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if schema is None:  # its creation broke off
            return None
        if str(schema) > SCHEMA:  # no text at all, where the file is damaged
            writer = connection.execute(text("SELECT written_by FROM about")).scalar()
            raise RegistryTooNew(
                f"{shown} has schema {schema}, written by lori_cl {writer}; this is lori_cl "
                f"{lori_cl.__version__}, which knows schemas up to {SCHEMA}. "
                "Upgrade it: pip install --upgrade lori-cl"
            )
    return str(schema)


def reason(error: SQLAlchemyError) -> str:
    """The database's own words, in one line, without SQL."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _begin_sqlite(connection: Connection) -> None:
    mode = "IMMEDIATE" if connection.get_execution_options().get(WRITES) else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {mode}")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins; sqlite3 would not before a SELECT or DDL
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA synchronous = FULL")  # a committed stage must survive a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
