"""A database behind a server, which is PostgreSQL wherever that makes a difference."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.database import LOCK_TIMEOUT_MS, WRITES, Database, T, reason
from lori_cl.registry.server_settings import connection_options, user_setting_ms
from lori_cl.registry.server_watch import ServerWatch

log = logging.getLogger(__name__)

WRITERS_LOCK = int.from_bytes(b"lori_cl")
"""The advisory lock of the one who writes."""

STATEMENT_TIMEOUT_S = 45.0
"""How long the server may take for one statement, a wait for other writers included."""

TABLES_TIMEOUT_S = 600.0
"""The same while tables are altered."""

ANSWER_MARGIN_S = 5.0
"""How much longer an answer is waited for here than the server takes by its own timeout."""

PATIENCE_S = 60.0
"""How long is tried again after the first failure, attempts to connect included."""

PAUSES_S = (0.5, 1, 2, 4, 8, 15, 30)
"""How long a server that went away is waited for between two tries, a minute in all: a restart takes seconds,
a failover some more, and what was trained for hours is worth it."""


class Server(Database):
    """A database behind a server; while that is away, it is waited for.

    A transaction that broke off is done again, since nothing of it is there. If it broke off while it was
    committed, that is asked first. A server that is there and does not answer is treated like one that is
    away.
    """

    def __init__(self, url: URL, shown: str, *, read_only: bool) -> None:
        engine = create_engine(url, connect_args=connection_options(url))
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._read_only = read_only
        self._user_ms = {name: user_setting_ms(url, name) for name in ("statement_timeout", "lock_timeout")}
        self._watch = ServerWatch(engine, shown, self._answer_limit_s(STATEMENT_TIMEOUT_S))
        if self._is_postgresql:
            event.listen(engine, "begin", self._begin)
        self._was_there = False
        super().__init__(engine, shown)

    def release(self) -> None:
        """Close every connection."""
        super().release()
        self._watch.stop()

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """A transaction that makes or alters tables, which may take minutes."""
        self._watch.limit_s = self._answer_limit_s(TABLES_TIMEOUT_S)
        try:
            with super().changing_tables() as connection:
                yield connection
        finally:
            self._watch.limit_s = self._answer_limit_s(STATEMENT_TIMEOUT_S)
            self._watch.reset()

    def _answer_limit_s(self, statement_s: float) -> float | None:
        """A bit more than the server takes by its own timeout; None where the user allows any time."""
        given_ms = self._user_ms["statement_timeout"]
        if given_ms == 0:
            return None
        return (statement_s if given_ms is None else given_ms / 1000) + ANSWER_MARGIN_S

    def _begin(self, connection: Connection) -> None:
        """Let one write at a time, as SQLite does, and whoever reads see one moment."""
        limit_s = self._watch.limit_s
        if self._user_ms["statement_timeout"] is None and limit_s is not None:
            timeout_ms = round(1000 * (limit_s - ANSWER_MARGIN_S))
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout_ms}")
        if self._read_only or not connection.get_execution_options().get(WRITES):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return
        if self._user_ms["lock_timeout"] is None:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")

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
        pauses, give_up = iter(PAUSES_S), math.inf
        try:
            while True:
                try:
                    return attempt()
                except _Away as away:
                    if not self._was_there:
                        raise away.error from None
                    give_up = min(give_up, monotonic() + PATIENCE_S)
                    pause_s, left_s = next(pauses, None), give_up - monotonic()
                    self._wait(None if left_s <= 0 else pause_s, left_s, away.error)
        finally:
            self._watch.reset()

    def _wait(self, pause_s: float | None, left_s: float, error: DBAPIError) -> None:
        """Raises: WorkspaceUnusable, where no pause is left."""
        why = self._watch.reason() or reason(error)
        if pause_s is None:
            raise WorkspaceUnusable(
                f"{self.shown} went away and is not back after a minute: {why}; what was committed "
                "stays, and the same command goes on from there"
            ) from error
        if pause_s == PAUSES_S[0]:
            log.warning("%s is away (%s); waiting a minute for it", self.shown, why)
        sleep(min(pause_s, left_s))

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
