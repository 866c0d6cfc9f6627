"""Engines: SQLite in WAL mode for writers, a reader that leaves no file behind, or any other database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

import lori_cl
from lori_cl.errors import RegistryTooNew, WorkspaceUnusable
from lori_cl.registry.tables import SCHEMA

BUSY_TIMEOUT_MS = 30_000


def parse_url(url: str) -> URL:
    """A SQLAlchemy URL.

    Raises: WorkspaceUnusable, without repeating the text, which may hold a password.
    """
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise WorkspaceUnusable(
            "the registry's URL is not one SQLAlchemy knows; for instance sqlite:////data/registry.db "
            "or postgresql+psycopg://user@host/name"
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
    return engine


def reading_engine(url: URL) -> Engine:
    """An engine for readers; a SQLite file at rest is read as immutable, since WAL would make two files."""
    path = sqlite_file(url)
    if path is None:
        return create_engine(url)
    log = path.with_name(path.name + "-wal")
    at_rest = not log.exists() or log.stat().st_size == 0
    mode = "mode=ro&immutable=1" if at_rest else "mode=ro"
    return create_engine(f"sqlite:///file:{path.resolve()}?{mode}&uri=true")


def check_schema(engine: Engine, shown: str) -> str | None:
    """The registry's schema, or None where there is no registry in the database.

    Raises: RegistryTooNew, naming both versions and what to do.
    """
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        schema = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar())
        if schema > SCHEMA:
            writer = connection.execute(text("SELECT written_by FROM about")).scalar()
            raise RegistryTooNew(
                f"{shown} has schema {schema}, written by lori_cl {writer}; this is lori_cl "
                f"{lori_cl.__version__}, which knows schemas up to {SCHEMA}. "
                "Upgrade it: pip install --upgrade lori-cl"
            )
    return schema


def reason(error: SQLAlchemyError) -> str:
    """The database's own words, in one line, without SQL."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a committed stage must survive a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
