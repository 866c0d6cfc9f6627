"""The command `lori-cl gc`."""

from __future__ import annotations

from dataclasses import asdict

import click

from lori_cl.cli.output import console, json_option, print_json, print_line
from lori_cl.registry import Workspace, find_garbage, undecided_reason


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
@click.pass_obj
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

    undecided, found = undecided_reason(workspace), []
    with workspace.read() as registry:
        if undecided is None:
            found = [each for each in find_garbage(workspace, registry) if each.age_s >= 60 * min_age]
    undecided = undecided or undecided_reason(workspace)  # a run may have started in the meantime
    deleted = delete and undecided is None
    for leftover in found if deleted else []:
        leftover.remove()
    if as_json:
        print_json([{**asdict(each), "path": str(each.path), "deleted": deleted} for each in found])
    elif found or undecided is None:
        print_unused_files(found, console(), deleted=deleted)
    if undecided is not None:
        print_line(f"cannot determine the unused files: {undecided}", err=True)
