"""The command `lori-cl interference`."""

from __future__ import annotations

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import console, json_option, print_json
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Number of eval inputs per task.",
)
@click.option("--by-site", is_flag=True, help="Show one line per site.")
@json_option
@pass_workspace
def interference(workspace: Workspace, run: str, examples: int, by_site: bool, as_json: bool) -> None:
    """Show how strongly the update of each task of RUN acts on the eval inputs of earlier tasks.

    The measured forgetting of each pair of tasks is shown next to it.

    \b
    Example:
      lori-cl interference first
    """
    from lori_cl.serving.interference_table import print_interference  # imports torch

    found = Run(workspace, run).interference(examples)
    print_json(found.to_record()) if as_json else print_interference(found, console(), by_site=by_site)
