"""The command `lori-cl gc`."""

from __future__ import annotations

from dataclasses import asdict

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import console, json_option, print_json, print_line
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.option("--delete", is_flag=True, help="Delete the files instead of only listing them.")
@click.option(
    "--min-age",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Ignore files younger than this: a running command writes files before it commits them.",
)
@json_option
@pass_workspace
def gc(workspace: Workspace, delete: bool, min_age: int, as_json: bool) -> None:
    """List unused files of the workspace, such as those that killed runs left behind.

    Files that the registry refers to are never listed. While a run is in progress, or if several registries
    keep runs in the workspace, unused files cannot be determined: then nothing is deleted, and a message says
    why.

    \b
    Example:
      lori-cl gc
      lori-cl gc --delete
    """
    from lori_cl.reports import print_unused_files

    garbage = workspace.collect_garbage(delete=delete, min_age_s=60 * min_age)
    if as_json:
        files, deleted = garbage.files, garbage.deleted
        print_json([{**asdict(each), "path": str(each.path), "deleted": deleted} for each in files])
    elif garbage.files or garbage.undecided is None:
        print_unused_files(garbage.files, console(), deleted=garbage.deleted)
    if garbage.undecided is not None:
        print_line(f"cannot determine the unused files: {garbage.undecided}", err=True)
