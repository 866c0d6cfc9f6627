"""`lori-cl registry`."""

from __future__ import annotations

import click

from lori_cl.cli.output import print_line
from lori_cl.registry.workspace import Workspace


@click.group()
def registry() -> None:
    """Look after the registry itself.

    \b
    Example:
      lori-cl registry upgrade
    """


@registry.command()
@click.option("--no-backup", is_flag=True, help="Where it was backed up by other means.")
@click.pass_obj
def upgrade(workspace: Workspace, no_backup: bool) -> None:
    """Bring a registry that an earlier version wrote up to date.

    As it was before, it is kept in a new file: a SQLite registry beside itself, one in PostgreSQL (by
    pg_dump) in the workspace.

    \b
    Example:
      lori-cl registry upgrade
    """
    done = workspace.upgrade(backup=not no_backup)
    if done.before == done.now:
        print_line(f"Up to date already: schema {done.now}")
        return
    print_line(f"Schema {done.before} is now {done.now}")
    if done.backup is not None:
        print_line(f"As it was before: {done.backup} ({done.backup.stat().st_size:,} bytes)")
