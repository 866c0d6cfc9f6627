"""The command `lori-cl interference`."""

from __future__ import annotations

import click

from lori_cl.cli.output import console, json_option, print_json
from lori_cl.registry import Workspace


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
@click.pass_obj
def interference(workspace: Workspace, run: str, examples: int, by_site: bool, as_json: bool) -> None:
    """Show how strongly the update of each task of RUN acts on the eval inputs of earlier tasks.

    The measured forgetting of each pair of tasks is shown next to it.

    \b
    Example:
      lori-cl interference first
    """
    from lori_cl.serving.interference import interference, rank_correlation
    from lori_cl.serving.interference_table import print_interference
    from lori_cl.training import load_run

    with workspace.read() as registry:
        loaded = load_run(workspace, registry, run)
        pairs = interference(loaded, registry.evaluations(run), examples)
    if as_json:
        correlation = rank_correlation(pairs)
        rho = None if correlation is None else correlation[0]
        print_json({"pairs": [pair.to_record() for pair in pairs], "spearman": rho})
    else:
        print_interference(pairs, console(), by_site=by_site)
