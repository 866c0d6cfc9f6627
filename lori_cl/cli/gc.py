"""`lori-cl gc`."""

from __future__ import annotations

from dataclasses import asdict

import click

from lori_cl.cli.output import console, json_option, print_json
from lori_cl.registry import Workspace, held_runs, leftovers


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

    \b
    Example:
      lori-cl gc
      lori-cl gc --delete
    """
    from lori_cl.reports import print_leftovers

    with workspace.read() as registry:
        found = [each for each in leftovers(workspace, registry) if each.age_s >= 60 * min_age]
        held = held_runs(workspace, registry)
    for leftover in found if delete else []:
        leftover.remove()
    if as_json:
        print_json([{**asdict(each), "path": str(each.path), "deleted": delete} for each in found])
    else:
        print_leftovers(found, console(), deleted=delete)
    if held:
        click.echo(
            f"artifacts were left out: {', '.join(held)} is under way and about to commit some", err=True
        )
