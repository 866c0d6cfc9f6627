"""The command `lori-cl init`."""

from __future__ import annotations

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.workspace import pass_workspace


@click.command()
@pass_workspace
def init(workspace: Workspace) -> None:
    """Create a workspace: registry.db, tasks/ and artifacts/ in the current folder (or in --workspace).

    An existing workspace is left unchanged. Use `lori-cl registry upgrade` to upgrade the registry of an
    earlier version.

    \b
    Example:
      lori-cl --workspace ~/lori init
    """
    created = workspace.create()
    outcome = "Created a workspace in" if created else "Workspace exists and is up to date:"
    print_line(f"{outcome} {workspace.root.resolve()}")
