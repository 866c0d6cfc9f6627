"""Notices a database server that does not answer, says so, and ends the wait.

The timeouts of a server do nothing where the server itself is stopped, and those of TCP nothing where its
machine still acknowledges packets. So a thread watches every wait of this process: it logs a line every few
seconds, and after the limit it shuts the connection's socket down, so that the driver raises an error.
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

NOTICE_S = 5.0
"""Seconds between two lines."""


class ServerWatch:
    """Watches the connections of one engine."""

    def __init__(self, engine: Engine, shown: str, limit_s: float | None) -> None:
        self.limit_s = limit_s
        """How long one answer is waited for; None for ever."""
        self._shown = shown
        self._connections: WeakSet[Any] = WeakSet()
        self._waits_since: float | None = None
        self._silent_since: float | None = None
        self._next_notice = 0.0
        self._cut = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._listen(engine)

    def begin(self, *_: Any) -> None:
        """An answer is waited for from now on."""
        self._waits_since = monotonic()
        if self._silent_since is None:
            self._silent_since, self._next_notice = self._waits_since, self._waits_since + NOTICE_S
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="server watch", daemon=True)
            self._thread.start()

    def answered(self, *_: Any) -> None:
        """The server has answered."""
        self._waits_since = self._silent_since = None

    def failed(self, *_: Any) -> None:
        """The wait has ended without an answer; the caller may try again."""
        self._waits_since = None

    def reset(self) -> None:
        """The caller tries no further; what it waits for next is another matter."""
        self._waits_since = self._silent_since = None
        self._cut = False

    def reason(self) -> str | None:
        """Why a connection was lost, if it was this watch that ended it."""
        return f"no answer for {self.limit_s:.0f} s" if self._cut else None

    def stop(self) -> None:
        """End the thread."""
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
        with suppress(TypeError):  # a driver's connection that cannot be referred to weakly
            self._connections.add(connection)
        return connection

    def _ping(self, connection: Any, *_: Any) -> None:
        """Raises: DisconnectionError, if the connection is lost, upon which the pool makes a new one."""
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
            waits, silent = self._waits_since, self._silent_since
            if silent is not None and now >= self._next_notice:
                self._next_notice = now + NOTICE_S
                log.warning("%s has not answered for %.0f s; waiting", self._shown, now - silent)
            if waits is not None and self.limit_s is not None and now - waits >= self.limit_s:
                self._cut = True
                self._waits_since = now  # once more after the same time, if that did not help
                for connection in list(self._connections):
                    _shut_down(connection)

    def _tick_s(self) -> float:
        return min(0.5, NOTICE_S / 4, (self.limit_s or NOTICE_S) / 4)


def _shut_down(connection: Any) -> None:
    """End a connection's socket from another thread than the one that waits for it."""
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)  # suppressed: it is closed already, or the driver tells no descriptor
