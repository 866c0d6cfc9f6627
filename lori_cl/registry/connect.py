"""From a URL to a database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from lori_cl.errors import WorkspaceUnusable
from lori_cl.paths import expanded
from lori_cl.registry.database import Database
from lori_cl.registry.server import Server
from lori_cl.registry.sqlite import SqliteFile, SqliteFileToRead


def parse_url(url: str | URL) -> URL:
    """A SQLAlchemy URL; a password among its options is moved to where SQLAlchemy knows it as one.

    Raises: WorkspaceUnusable, without repeating the text, which may hold a password.
    """
    try:
        parsed = make_url(url)
        if isinstance(url, str) and parsed.get_backend_name() == "sqlite" and parsed.database:
            parsed = parsed.set(database=str(expanded(parsed.database, "the registry's file")))
        password = parsed.query.get("password")
        if isinstance(password, str):
            parsed = parsed.set(password=password).difference_update_query(["password"])
        dialect = parsed.get_dialect()
        dialect.import_dbapi()
        dialect().create_connect_args(parsed)
        if parsed.get_backend_name() == "sqlite" and not parsed.database:
            raise ValueError("a database in memory forgets everything")
        if parsed.get_backend_name() != "sqlite" and str(url).count("@") > 1:
            raise ValueError("what follows the first @ may still be the password")
    except ImportError as error:
        raise WorkspaceUnusable(
            f"the registry's URL needs a driver that is not installed: pip install {error.name}"
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise WorkspaceUnusable(
            "the registry's URL is not one SQLAlchemy knows; for instance sqlite:////data/registry.db "
            "or postgresql+psycopg://user@host/name (an @ in the password is written %40)"
        ) from None  # their words may hold a piece of the password
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The file behind a SQLite URL, or None for another database."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def shown(url: URL) -> str:
    """The database as it may be shown: a file's path, or a URL without its password."""
    path = sqlite_file(url)
    return str(path) if path is not None else url.set(query={}).render_as_string(hide_password=True)


def open_database(url: URL, *, read_only: bool) -> tuple[Database, str]:
    """The database behind a URL, and the schema of the registry in it.

    Raises: WorkspaceUnusable, if there is none; RegistryTooNew.
    """
    missing = WorkspaceUnusable(f"no registry at {shown(url)}; make one: lori-cl init")
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
    """The database behind a URL."""
    path = sqlite_file(url)
    if path is None:
        return Server(url, shown(url), read_only=read_only)
    return SqliteFileToRead(path, shown(url)) if read_only else SqliteFile(url, shown(url))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
        raise WorkspaceUnusable(f"{str(path)[:80]} cannot be opened: {error}") from None
