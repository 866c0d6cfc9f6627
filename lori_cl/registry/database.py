"""A database and its transactions, with errors in the user's terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

import lori_cl
from lori_cl.errors import InputError, RegistryTooNew, RunConflict, WorkspaceUnusable
from lori_cl.registry.tables import SCHEMA

T = TypeVar("T")

WRITES = "lori_cl_writes"
"""Execution option of a transaction that locks out other writers from its start."""

LOCK_TIMEOUT_MS = 30_000
"""How long to wait for other writers; a transaction takes milliseconds."""

LOCKED = f"another process has held the lock for {LOCK_TIMEOUT_MS // 1000} s"


class Database:
    """A database whose transactions raise errors in the user's terms.

    A transaction is a function of a session and has no other side effects, so that it can be repeated.
    Raises, from every transaction: WorkspaceUnusable, if the database cannot be read or written.
    """

    def __init__(self, engine: Engine, display_name: str) -> None:
        self.engine = engine
        self.display_name = display_name
        """A file's path, or the URL without its password."""

    def prepare(self) -> None:
        """Prepare the database for a new registry."""

    def close(self) -> None:
        """Finish pending work and close the database."""
        self.release()

    def release(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def damage(self) -> list[str]:
        """Return the errors of an integrity check; empty where the server does its own checks."""
        return []

    def schema(self) -> str | None:
        """Return the schema version, or None if the database contains no registry.

        Raises: RegistryTooNew, with both versions and what to do.
        """
        try:
            return self._read(lambda session: schema_of(session.connection(), self.display_name))
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise WorkspaceUnusable(f"{self.display_name} cannot be opened: {reason(error)}") from error

    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a read transaction, which sees one consistent snapshot."""
        try:
            return self._read(work)
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise WorkspaceUnusable(f"{self.display_name} cannot be read: {reason(error)}") from error
        except UnicodeEncodeError as error:
            raise InputError(f"invalid name {error.object!r}: it contains bytes that are not text") from None

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one write transaction, while no other process writes.

        Raises: RunConflict, if the same record exists already.
        """
        try:
            return self._write(work)
        except SQLAlchemyError as error:
            if _is_duplicate(error):
                raise RunConflict(
                    f"another process wrote the same record to {self.display_name} first ({reason(error)}); "
                    "committed data is kept; check with lori-cl runs, then repeat the command"
                ) from error
            raise WorkspaceUnusable(
                f"{self.display_name} cannot be written: {reason(error)}; data committed before is kept"
            ) from error

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """Open a transaction that creates or alters tables, while no other process writes."""
        try:
            with self.engine.execution_options(**{WRITES: True}).begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            cause = reason(error) if isinstance(error, SQLAlchemyError) else error.strerror
            raise WorkspaceUnusable(f"{self.display_name} cannot be written: {cause}") from error

    def _read(self, work: Callable[[Session], T]) -> T:
        with Session(self.engine) as session:
            return work(session)

    def _write(self, work: Callable[[Session], T]) -> T:
        engine = self.engine.execution_options(**{WRITES: True})
        with Session(engine, expire_on_commit=False) as session, session.begin():
            return work(session)


def schema_of(connection: Connection, display_name: str) -> str | None:
    """Return the schema version; see `Database.schema`."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    schema = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if schema is None:  # its creation was interrupted
        return None
    if str(schema) > SCHEMA:  # not a string in a damaged file
        writer = connection.execute(text("SELECT written_by FROM about")).scalar()
        raise RegistryTooNew(
            f"{display_name} has schema {schema}, written by lori_cl {writer}; this is lori_cl "
            f"{lori_cl.__version__}, which supports schemas up to {SCHEMA}. "
            "Upgrade lori_cl: pip install --upgrade lori-cl"
        )
    return str(schema)


def _is_duplicate(error: SQLAlchemyError) -> bool:
    """Whether a uniqueness constraint failed; the text of PostgreSQL's messages depends on its language."""
    is_integrity_error = isinstance(error, IntegrityError)
    return is_integrity_error and (_sqlstate(error) == "23505" or "unique" in reason(error).lower())


def _sqlstate(error: Exception) -> str | None:
    """Return PostgreSQL's error code."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def reason(error: SQLAlchemyError | UnicodeDecodeError) -> str:
    """Return the first line of the database's own message, without SQL."""
    origin = getattr(error, "orig", None)
    if getattr(origin, "sqlite_errorname", "").startswith("SQLITE_BUSY") or _sqlstate(error) == "55P03":
        return LOCKED
    return str(origin or error).splitlines()[0]
