"""Detects a database server that does not answer, logs it, and ends the wait.

Server-side timeouts have no effect if the server process is stopped, and TCP timeouts have none while its
machine acknowledges packets. A thread therefore watches every wait of this process: it logs a line every few
seconds, and after the limit it shuts down the connection's socket, so that the driver raises an error.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import Any
from weakref import WeakSet

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.exc import DisconnectionError

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0
"""Seconds between two log lines."""


class ServerWatch:
    """Watches the connections of one engine."""

    def __init__(self, engine: Engine, display_name: str, limit_s: float | None) -> None:
        self.limit_s = limit_s
        """How long to wait for an answer; None for no limit."""
        self._display_name = display_name
        self._connections: WeakSet[Any] = WeakSet()
        self._waiting_since: float | None = None
        self._silent_since: float | None = None
        self._next_log_at = 0.0
        self._timed_out = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._listen(engine)

    def begin(self, *_: Any) -> None:
        """Record that a wait for an answer begins."""
        self._waiting_since = monotonic()
        if self._silent_since is None:
            self._silent_since, self._next_log_at = self._waiting_since, self._waiting_since + LOG_INTERVAL_S
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="server watch", daemon=True)
            self._thread.start()

    def answered(self, *_: Any) -> None:
        """Record that the server answered."""
        self._waiting_since = self._silent_since = None

    def failed(self, *_: Any) -> None:
        """Record that a wait ended without an answer; the caller may retry."""
        self._waiting_since = None

    def reset(self) -> None:
        """Forget the current wait: the caller no longer retries."""
        self._waiting_since = self._silent_since = None
        self._timed_out = False

    def reason(self) -> str | None:
        """Return why the connection was lost if this watch closed it, otherwise None."""
        return f"no answer for {self.limit_s:.0f} s" if self._timed_out else None

    def stop(self) -> None:
        """Stop the thread."""
        self._ended.set()

    def _listen(self, engine: Engine) -> None:
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine.pool, "checkout", self._ping)
        self._dialect = engine.dialect
        for target, name in ((engine, "before_cursor_execute"), (engine, "commit"), (engine, "rollback")):
            event.listen(target, name, self.begin)
        event.listen(engine.pool, "reset", self.begin)
        event.listen(engine.pool, "checkin", self.failed)
        event.listen(engine, "after_cursor_execute", self.answered)
        event.listen(engine, "handle_error", self.failed)

    def _connect(self, dialect: Dialect, _: Any, arguments: Any, options: Any) -> Any:
        self.begin()
        try:
            connection = dialect.connect(*arguments, **options)
        except BaseException:
            self.failed()
            raise
        with suppress(TypeError):  # the driver's connection does not support weak references
            self._connections.add(connection)
        return connection

    def _ping(self, connection: Any, *_: Any) -> None:
        """Check a pooled connection.

        Raises: DisconnectionError, if it is lost; the pool then creates a new one.
        """
        self.begin()
        try:
            self._dialect.do_ping(connection)
        except self._dialect.loaded_dbapi.Error as error:
            self.failed()
            raise DisconnectionError(str(error)) from error
        self.answered()

    def _watch(self) -> None:
        while not self._ended.wait(self._tick_s()):
            now = monotonic()
            waiting_since, silent_since = self._waiting_since, self._silent_since
            if silent_since is not None and now >= self._next_log_at:
                self._next_log_at = now + LOG_INTERVAL_S
                log.warning("%s has not answered for %.0f s; waiting", self._display_name, now - silent_since)
            if waiting_since is not None and self.limit_s is not None and now - waiting_since >= self.limit_s:
                self._timed_out = True
                self._waiting_since = now  # repeat after the same time if this had no effect
                for connection in list(self._connections):
                    _shut_down(connection)

    def _tick_s(self) -> float:
        return min(0.5, LOG_INTERVAL_S / 4, (self.limit_s or LOG_INTERVAL_S) / 4)


def _shut_down(connection: Any) -> None:
    """Shut down a connection's socket from a thread other than the waiting one."""
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)  # suppressed: already closed, or the driver has no fileno()
