"""Parsing of database URLs and opening of databases."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from lori_cl.errors import WorkspaceUnusable
from lori_cl.paths import expand_user
from lori_cl.registry.database import Database
from lori_cl.registry.server import Server
from lori_cl.registry.sqlite import ReadOnlySqliteFile, SqliteFile


def parse_url(url: str | URL) -> URL:
    """Parse a SQLAlchemy URL; a password in the query becomes the URL's password, which SQLAlchemy hides.

    Raises: WorkspaceUnusable, without quoting the URL, which may contain a password.
    """
    try:
        parsed = make_url(url)
        if isinstance(url, str) and parsed.get_backend_name() == "sqlite" and parsed.database:
            parsed = parsed.set(database=str(expand_user(parsed.database, "the registry file")))
        password = parsed.query.get("password")
        if isinstance(password, str):
            parsed = parsed.set(password=password).difference_update_query(["password"])
        dialect = parsed.get_dialect()
        dialect.import_dbapi()
        dialect().create_connect_args(parsed)
        if parsed.get_backend_name() == "sqlite" and not parsed.database:
            raise ValueError("an in-memory database is not persistent")
        if parsed.get_backend_name() != "sqlite" and str(url).count("@") > 1:
            raise ValueError("text after the first @ may belong to the password")
    except ImportError as error:
        raise WorkspaceUnusable(
            f"the registry URL needs a driver that is not installed: pip install {error.name}"
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise WorkspaceUnusable(
            "invalid registry URL: SQLAlchemy cannot parse it; examples: sqlite:////data/registry.db, "
            "postgresql+psycopg://user@host/name (write an @ in the password as %40)"
        ) from None  # SQLAlchemy's message may contain a part of the password
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite URL, or None for another database."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def display_name(url: URL) -> str:
    """Return a file's path, or the URL without its password."""
    path = sqlite_file(url)
    return str(path) if path is not None else url.set(query={}).render_as_string(hide_password=True)


def open_database(url: URL, *, read_only: bool) -> tuple[Database, str]:
    """Open the database of a URL; return it with the schema of its registry.

    Raises: WorkspaceUnusable, if there is no registry; RegistryTooNew.
    """
    missing = WorkspaceUnusable(f"no registry at {display_name(url)}; create one: lori-cl init")
    path = sqlite_file(url)
    if path is not None and not _is_file(path):
        raise missing
    database = connect(url, read_only=read_only)
    try:
        schema = database.schema()
        if schema is None:
            raise missing
    except BaseException:
        database.release()
        raise
    return database, schema


def connect(url: URL, *, read_only: bool) -> Database:
    """Connect to the database of a URL."""
    path = sqlite_file(url)
    if path is None:
        return Server(url, display_name(url), read_only=read_only)
    return ReadOnlySqliteFile(path, display_name(url)) if read_only else SqliteFile(url, display_name(url))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError) as error:  # the name is too long or contains a null byte
        raise WorkspaceUnusable(f"{str(path)[:80]} cannot be opened: {error}") from None
