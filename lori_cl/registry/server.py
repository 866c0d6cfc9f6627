"""A database behind a server, which is PostgreSQL wherever that makes a difference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import sleep
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.database import LOCK_TIMEOUT_MS, WRITES, Database, T, reason

log = logging.getLogger(__name__)

WRITERS_LOCK = int.from_bytes(b"lori_cl")
"""The advisory lock of the one who writes."""

CONNECT_TIMEOUT_S = 10
"""A machine that is down does not even refuse."""

PAUSES_S = (0.5, 1, 2, 4, 8, 15, 30)
"""How long a server that went away is waited for between two tries, a minute in all: a restart takes seconds,
a failover some more, and what was trained for hours is worth it."""


class Server(Database):
    """A database behind a server; while that is away, it is waited for.

    A transaction that broke off is done again, since nothing of it is there. If it broke off while it was
    committed, that is asked first.
    """

    def __init__(self, url: URL, shown: str, *, read_only: bool) -> None:
        takes_it = url.get_driver_name() == "psycopg" and "connect_timeout" not in url.query
        options = {"connect_timeout": CONNECT_TIMEOUT_S} if takes_it else {}
        engine = create_engine(url, pool_pre_ping=True, connect_args=options)
        self._is_postgresql = engine.dialect.name == "postgresql"
        if self._is_postgresql:
            event.listen(engine, "begin", partial(_begin_postgresql, read_only))
        self._was_there = False
        super().__init__(engine, shown)

    def _read(self, work: Callable[[Session], T]) -> T:
        return self._patiently(partial(self._find, work))

    def _write(self, work: Callable[[Session], T]) -> T:
        while True:
            try:
                return self._patiently(partial(self._commit, work))
            except _Unanswered as commit:
                if self._patiently(partial(self._took_place, commit)):
                    made: T = commit.made
                    return made

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, tried again while the server is away.

        Raises: WorkspaceUnusable, if it stays away; DBAPIError, if it was never there, so that its address is
        likelier wrong.
        """
        pauses = iter(PAUSES_S)
        while True:
            try:
                return attempt()
            except _Away as away:
                if not self._was_there:
                    raise away.error from None
                self._wait(next(pauses, None), away.error)

    def _wait(self, pause_s: float | None, error: DBAPIError) -> None:
        """Raises: WorkspaceUnusable, where no pause is left."""
        if pause_s is None:
            raise WorkspaceUnusable(
                f"{self.shown} went away and is not back after a minute: {reason(error)}; what was committed "
                "stays, and the same command goes on from there"
            ) from error
        if pause_s == PAUSES_S[0]:
            log.warning("%s is away (%s); waiting a minute for it", self.shown, reason(error))
        sleep(pause_s)

    def _find(self, work: Callable[[Session], T]) -> T:
        with self._session(writes=False) as session:
            return work(session)

    def _commit(self, work: Callable[[Session], T]) -> T:
        with self._session(writes=True) as session:
            made = work(session)
            session.flush()
            number = session.scalar(text("SELECT txid_current()")) if self._is_postgresql else None
            try:
                session.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _Unanswered(error, made, number) from error
                raise
            return made

    def _took_place(self, commit: _Unanswered) -> bool:
        """Whether a commit that was not answered is there, which PostgreSQL remembers.

        Raises: DBAPIError, if it cannot be told.
        """
        if commit.number is None:
            raise commit.error
        with self._session(writes=False) as session:
            status = session.scalar(text("SELECT txid_status(:number)"), {"number": commit.number})
        if status not in {"committed", "aborted"}:  # still in progress
            raise _Away(commit.error)
        return bool(status == "committed")

    @contextmanager
    def _session(self, *, writes: bool) -> Iterator[Session]:
        """Raises: _Away, if the server goes away meanwhile."""
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            raise _Away(error) from error
        self._was_there = True
        try:
            connection.execution_options(**{WRITES: writes})
            with connection, Session(connection, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _Away(error) from error
            raise


@dataclass
class _Away(Exception):
    """The server is away, and has committed nothing."""

    error: DBAPIError


@dataclass
class _Unanswered(Exception):
    """The server went away while it committed."""

    error: DBAPIError
    made: Any
    """What the transaction returns."""
    number: int | None
    """PostgreSQL's own, by which it knows the transaction."""


def _begin_postgresql(read_only: bool, connection: Connection) -> None:
    """Let one write at a time, as SQLite does, and whoever reads see one moment."""
    if read_only or not connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
