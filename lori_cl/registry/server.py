"""A registry on a database server, with support for PostgreSQL."""

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
"""Advisory lock of the writing transaction."""

STATEMENT_TIMEOUT_S = 45.0
"""Server-side timeout of a statement, including the wait for other writers."""

TABLES_TIMEOUT_S = 600.0
"""Server-side timeout of a statement that alters tables."""

ANSWER_MARGIN_S = 5.0
"""How much longer the client waits than the server-side timeout."""

RETRY_LIMIT_S = 60.0
"""How long to retry after the first failure, including attempts to connect."""

RETRY_DELAYS_S = (0.5, 1, 2, 4, 8, 15, 30)
"""Delays between attempts to reach an unavailable server, a minute in total: a restart takes seconds, a
failover takes longer, and the data to commit may have taken hours to train."""


class Server(Database):
    """A database on a server; transactions are retried while the server is unavailable.

    An interrupted transaction was rolled back, so it is repeated. If the connection fails during the commit,
    the transaction's status is queried first. A server that does not answer counts as unavailable.
    """

    def __init__(self, url: URL, display_name: str, *, read_only: bool) -> None:
        engine = create_engine(url, connect_args=connection_options(url))
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._read_only = read_only
        self._user_ms = {name: user_setting_ms(url, name) for name in ("statement_timeout", "lock_timeout")}
        self._watch = ServerWatch(engine, display_name, self._answer_limit_s(STATEMENT_TIMEOUT_S))
        if self._is_postgresql:
            event.listen(engine, "begin", self._begin)
        self._has_connected = False
        super().__init__(engine, display_name)

    def release(self) -> None:
        """Close every connection."""
        super().release()
        self._watch.stop()

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """Open a transaction that creates or alters tables, which may take minutes."""
        self._watch.limit_s = self._answer_limit_s(TABLES_TIMEOUT_S)
        try:
            with super().changing_tables() as connection:
                yield connection
        finally:
            self._watch.limit_s = self._answer_limit_s(STATEMENT_TIMEOUT_S)
            self._watch.reset()

    def _answer_limit_s(self, statement_s: float) -> float | None:
        """Return the client-side timeout; None if the user disabled the server-side timeout."""
        user_ms = self._user_ms["statement_timeout"]
        if user_ms == 0:
            return None
        return (statement_s if user_ms is None else user_ms / 1000) + ANSWER_MARGIN_S

    def _begin(self, connection: Connection) -> None:
        """Allow one writer at a time, as SQLite does, and give readers a consistent snapshot."""
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
        return self._with_retries(partial(self._run_read, work))

    def _write(self, work: Callable[[Session], T]) -> T:
        while True:
            try:
                return self._with_retries(partial(self._commit, work))
            except _UnknownCommit as commit:
                if self._with_retries(partial(self._is_committed, commit)):
                    result: T = commit.result
                    return result

    def _with_retries(self, attempt: Callable[[], T]) -> T:
        """Return the result of `attempt`, retrying while the server is unavailable.

        Raises: WorkspaceUnusable, if it stays unavailable; DBAPIError, if no connection ever succeeded: then
        the address is more likely to be wrong.
        """
        delays, deadline = iter(RETRY_DELAYS_S), math.inf
        try:
            while True:
                try:
                    return attempt()
                except _ServerUnavailable as unavailable:
                    if not self._has_connected:
                        raise unavailable.error from None
                    deadline = min(deadline, monotonic() + RETRY_LIMIT_S)
                    delay_s, left_s = next(delays, None), deadline - monotonic()
                    self._wait(None if left_s <= 0 else delay_s, left_s, unavailable.error)
        finally:
            self._watch.reset()

    def _wait(self, delay_s: float | None, left_s: float, error: DBAPIError) -> None:
        """Wait before the next attempt.

        Raises: WorkspaceUnusable, if `delay_s` is None.
        """
        cause = self._watch.reason() or reason(error)
        if delay_s is None:
            raise WorkspaceUnusable(
                f"{self.display_name} became unavailable and did not come back within a minute: {cause}; "
                "committed data is kept; repeat the command to resume"
            ) from error
        if delay_s == RETRY_DELAYS_S[0]:
            log.warning("%s is unavailable (%s); retrying for a minute", self.display_name, cause)
        sleep(min(delay_s, left_s))

    def _run_read(self, work: Callable[[Session], T]) -> T:
        with self._session(writes=False) as session:
            return work(session)

    def _commit(self, work: Callable[[Session], T]) -> T:
        with self._session(writes=True) as session:
            result = work(session)
            session.flush()
            transaction_id = session.scalar(text("SELECT txid_current()")) if self._is_postgresql else None
            try:
                session.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise _UnknownCommit(error, result, transaction_id) from error
                raise
            return result

    def _is_committed(self, commit: _UnknownCommit) -> bool:
        """Whether an unacknowledged commit succeeded; PostgreSQL keeps the status of recent transactions.

        Raises: DBAPIError, if this cannot be determined.
        """
        if commit.transaction_id is None:
            raise commit.error
        with self._session(writes=False) as session:
            status = session.scalar(text("SELECT txid_status(:number)"), {"number": commit.transaction_id})
        if status not in {"committed", "aborted"}:  # still in progress
            raise _ServerUnavailable(commit.error)
        return bool(status == "committed")

    @contextmanager
    def _session(self, *, writes: bool) -> Iterator[Session]:
        """Open a session.

        Raises: _ServerUnavailable, if the connection fails or is lost.
        """
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            raise _ServerUnavailable(error) from error
        self._has_connected = True
        try:
            connection.execution_options(**{WRITES: writes})
            with connection, Session(connection, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _ServerUnavailable(error) from error
            raise


@dataclass
class _ServerUnavailable(Exception):
    """The server is unavailable, and nothing was committed."""

    error: DBAPIError


@dataclass
class _UnknownCommit(Exception):
    """The connection was lost during a commit, so its outcome is unknown."""

    error: DBAPIError
    result: Any
    """The return value of the transaction."""
    transaction_id: int | None
    """PostgreSQL's id of the transaction."""
