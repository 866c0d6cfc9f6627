"""A database behind a server, which is PostgreSQL wherever that makes a difference."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL

from lori_cl.registry.database import WRITES, Database

LOCK_TIMEOUT_MS = 30_000

WRITERS_LOCK = int.from_bytes(b"lori_cl")
"""The advisory lock of the one who writes."""


class Server(Database):
    """A database behind a server."""

    def __init__(self, url: URL, shown: str, *, read_only: bool) -> None:
        engine = create_engine(url, pool_pre_ping=True)
        if engine.dialect.name == "postgresql":
            event.listen(engine, "begin", partial(_begin_postgresql, read_only))
        super().__init__(engine, shown)


def _begin_postgresql(read_only: bool, connection: Connection) -> None:
    """Let one write at a time, as SQLite does, and whoever reads see one moment."""
    if read_only or not connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
