"""A database and its transactions."""

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
"""The execution option of a transaction that keeps other writers out from its begin."""

LOCK_TIMEOUT_MS = 30_000
"""How long one waits for others that write; a transaction takes milliseconds."""

KEPT = f"another process has kept it to itself for {LOCK_TIMEOUT_MS // 1000} s"


class Database:
    """A database, and what may go wrong with it in a user's words.

    A transaction is a function of a session, so that it can be done again; it changes nothing else.
    Raises, from every transaction: WorkspaceUnusable, if the database cannot be read or written.
    """

    def __init__(self, engine: Engine, shown: str) -> None:
        self.engine = engine
        self.shown = shown
        """As it may be shown: a file's path, or a URL without its password."""

    def prepare(self) -> None:
        """Make it fit to hold a registry."""

    def close(self) -> None:
        """Finish and let go of the database."""
        self.release()

    def release(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def damage(self) -> list[str]:
        """What it finds wrong with itself; empty for one that looks after itself."""
        return []

    def schema(self) -> str | None:
        """Its schema, or None where there is no registry in it.

        Raises: RegistryTooNew, naming both versions and what to do.
        """
        try:
            return self._read(lambda session: schema_of(session.connection(), self.shown))
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise WorkspaceUnusable(f"{self.shown} cannot be opened: {reason(error)}") from error

    def read(self, work: Callable[[Session], T]) -> T:
        """What `work` finds, all of it as it stood at one moment."""
        try:
            return self._read(work)
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise WorkspaceUnusable(f"{self.shown} cannot be read: {reason(error)}") from error
        except UnicodeEncodeError as error:
            raise InputError(f"{error.object!r} is no name: it holds bytes that are no text") from None

    def write(self, work: Callable[[Session], T]) -> T:
        """Commit what `work` does, all of it or nothing, while no other process writes.

        Raises: RunConflict, if the same is there already.
        """
        try:
            return self._write(work)
        except SQLAlchemyError as error:
            if _is_there_already(error):
                raise RunConflict(
                    f"another process wrote the same to {self.shown} meanwhile ({reason(error)}); "
                    "what was committed stays: look at lori-cl runs, and call it again"
                ) from error
            raise WorkspaceUnusable(
                f"{self.shown} cannot be written: {reason(error)}; what was committed before stays"
            ) from error

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """A transaction that makes or alters tables, while no other process writes."""
        try:
            with self.engine.execution_options(**{WRITES: True}).begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            words = reason(error) if isinstance(error, SQLAlchemyError) else error.strerror
            raise WorkspaceUnusable(f"{self.shown} cannot be written: {words}") from error

    def _read(self, work: Callable[[Session], T]) -> T:
        with Session(self.engine) as session:
            return work(session)

    def _write(self, work: Callable[[Session], T]) -> T:
        engine = self.engine.execution_options(**{WRITES: True})
        with Session(engine, expire_on_commit=False) as session, session.begin():
            return work(session)


def schema_of(connection: Connection, shown: str) -> str | None:
    """See `Database.schema`."""
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


def _is_there_already(error: SQLAlchemyError) -> bool:
    """Whether a constraint of uniqueness refused it; PostgreSQL's words depend on its language."""
    refused = isinstance(error, IntegrityError)
    return refused and (_state(error) == "23505" or "unique" in reason(error).lower())


def _state(error: Exception) -> str | None:
    """PostgreSQL's code of what happened."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def reason(error: SQLAlchemyError | UnicodeDecodeError) -> str:
    """The database's own words, in one line, without SQL; damaged, they may be no text."""
    origin = getattr(error, "orig", None)
    if getattr(origin, "sqlite_errorname", "").startswith("SQLITE_BUSY") or _state(error) == "55P03":
        return KEPT
    return str(origin or error).splitlines()[0]
