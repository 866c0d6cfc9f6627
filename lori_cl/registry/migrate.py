"""Upgrade a registry to the newest schema with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.orm import Session

import lori_cl
from lori_cl.registry.tables import AboutRow

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection, revision: str = "head") -> None:
    """Run all pending migrations up to `revision` in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        session.merge(AboutRow(id=1, written_by=lori_cl.__version__))
        session.commit()
