"""A registry of an earlier schema becomes one of today's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from lori_cl.registry.backup import back_up
from lori_cl.registry.connect import open_database
from lori_cl.registry.database import schema_of
from lori_cl.registry.migrate import migrate
from lori_cl.registry.tables import SCHEMA


@dataclass(frozen=True)
class Upgrade:
    """What became of a registry."""

    before: str
    """Its schema until then."""
    now: str
    backup: Path | None
    """As it was until then; None where nothing was to be done, or no backup was asked for."""


def upgrade(url: URL, folder: Path, *, backup: bool) -> Upgrade:
    """Bring a registry to the newest schema, after a copy of it was made.

    From the copy to the end nobody else can write. A copy of what a server keeps goes into the folder.
    Raises: WorkspaceUnusable, if there is no registry, or it cannot be copied or written; RegistryTooNew.
    """
    database, _ = open_database(url, read_only=False)
    try:
        with database.changing_tables() as connection:
            before = schema_of(connection, database.shown)
            assert before is not None
            if before == SCHEMA:
                return Upgrade(before, SCHEMA, None)
            kept = back_up(url, before, folder) if backup else None
            migrate(connection)
            return Upgrade(before, SCHEMA, kept)
    finally:
        database.close()
