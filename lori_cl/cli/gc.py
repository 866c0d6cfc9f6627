"""`lori-cl gc`."""

from __future__ import annotations

from dataclasses import asdict

import click

from lori_cl.cli.output import console, json_option, print_json, print_line
from lori_cl.registry import Workspace, leftovers, undecided


@click.command()
@click.option("--delete", is_flag=True, help="Delete them; without it they are only shown.")
@click.option(
    "--min-age",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Leave younger ones out: a command under way writes files before it commits them.",
)
@json_option
@click.pass_obj
def gc(workspace: Workspace, delete: bool, min_age: int, as_json: bool) -> None:
    """Show files that nothing needs, such as killed runs leave behind; what any row names is never one.

    While a run is under way, and where more than one registry keeps runs in the workspace, that cannot be
    told: it says so and deletes nothing.

    \b
    Example:
      lori-cl gc
      lori-cl gc --delete
    """
    from lori_cl.reports import print_leftovers

    unsure, found = undecided(workspace), []
    with workspace.read() as registry:
        if unsure is None:
            found = [each for each in leftovers(workspace, registry) if each.age_s >= 60 * min_age]
    unsure = unsure or undecided(workspace)  # a run may have begun meanwhile
    deleted = delete and unsure is None
    for leftover in found if deleted else []:
        leftover.remove()
    if as_json:
        print_json([{**asdict(each), "path": str(each.path), "deleted": deleted} for each in found])
    elif found or unsure is None:
        print_leftovers(found, console(), deleted=deleted)
    if unsure is not None:
        print_line(f"what is left over cannot be told: {unsure}", err=True)
