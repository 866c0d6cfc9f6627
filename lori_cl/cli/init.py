"""`lori-cl init`."""

from __future__ import annotations

import click

from lori_cl.cli.output import print_line
from lori_cl.registry.workspace import Workspace


@click.command()
@click.pass_obj
def init(workspace: Workspace) -> None:
    """Make a workspace: registry.db, tasks/ and artifacts/ in this folder.

    Where they are there already, nothing changes. A registry that an earlier version wrote is brought up to
    date by `lori-cl registry upgrade`.

    \b
    Example:
      lori-cl --workspace ~/lori init
    """
    made = workspace.create()
    print_line(
        f"{'Made' if made else 'Already there, and up to date:'} a workspace in {workspace.root.resolve()}"
    )
