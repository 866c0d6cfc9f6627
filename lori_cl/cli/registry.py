"""The command group `lori-cl registry`."""

from __future__ import annotations

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.workspace import pass_workspace


@click.group()
def registry() -> None:
    """Maintain the registry database.

    \b
    Example:
      lori-cl registry upgrade
    """


@registry.command()
@click.option("--no-backup", is_flag=True, help="Upgrade without writing a backup first.")
@pass_workspace
def upgrade(workspace: Workspace, no_backup: bool) -> None:
    """Upgrade the registry of an earlier version to the current schema.

    First writes a backup: of a SQLite registry next to it, of a PostgreSQL registry (with pg_dump) into the
    workspace.

    \b
    Example:
      lori-cl registry upgrade
    """
    done = workspace.upgrade(backup=not no_backup)
    if done.before == done.now:
        print_line(f"The registry is up to date: schema {done.now}")
        return
    print_line(f"Upgraded schema {done.before} to {done.now}")
    if done.backup is not None:
        print_line(f"Backup of the earlier registry: {done.backup} ({done.backup.stat().st_size:,} bytes)")
