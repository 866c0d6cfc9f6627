"""Upgrading a registry of an earlier schema."""

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
    """The result of an upgrade."""

    before: str
    """The schema before the upgrade."""
    now: str
    backup: Path | None
    """The backup file; None if the registry was up to date or no backup was requested."""


def upgrade(url: URL, folder: Path, *, backup: bool) -> Upgrade:
    """Upgrade a registry to the newest schema, after a backup.

    No other process can write from the start of the backup to the end of the upgrade. The backup of a server
    database is written to the folder.
    Raises: WorkspaceUnusable, if there is no registry, or it cannot be backed up or written; RegistryTooNew.
    """
    database, _ = open_database(url, read_only=False)
    try:
        with database.changing_tables() as connection:
            before = schema_of(connection, database.display_name)
            assert before is not None
            if before == SCHEMA:
                return Upgrade(before, SCHEMA, None)
            backup_file = back_up(url, before, folder) if backup else None
            migrate(connection)
            return Upgrade(before, SCHEMA, backup_file)
    finally:
        database.close()
