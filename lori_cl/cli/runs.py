"""`lori-cl runs` and `lori-cl capacity`."""

from __future__ import annotations

import click

from lori_cl.cli.output import console, json_option, print_json
from lori_cl.registry.workspace import Workspace


@click.command()
@click.argument("name", required=False)
@click.option("--lineage", is_flag=True, help="Show what NAME was made from: data, seeds, digests, versions.")
@json_option
@click.pass_obj
def runs(workspace: Workspace, name: str | None, lineage: bool, as_json: bool) -> None:
    """List the runs, or show the one called NAME with its stages and settings; its JSON has the lineage, too.

    \b
    Example:
      lori-cl runs first
      lori-cl runs first --lineage
    """
    from lori_cl.reports import print_lineage, print_run, print_runs, run_record, run_summary

    if lineage and name is None:
        raise click.UsageError("say whose lineage: lori-cl runs NAME --lineage")
    with workspace.read() as registry:
        found = [registry.run(name)] if name is not None else registry.runs()
    if name is None:
        print_json([run_summary(run) for run in found]) if as_json else print_runs(found, console())
    elif as_json:
        print_json(run_record(found[0], workspace.set_aside(found[0])))
    elif lineage:
        print_lineage(found[0], console())
    else:
        print_run(found[0], console(), aside=workspace.set_aside(found[0]))


@click.command()
@click.argument("run")
@json_option
@click.pass_obj
def capacity(workspace: Workspace, run: str, as_json: bool) -> None:
    """Show the cells of RUN, per site and per task, and how many more tasks fit.

    \b
    Example:
      lori-cl capacity first
    """
    from lori_cl.reports import capacity_of, print_capacity

    with workspace.read() as registry:
        found = registry.run(run)
    if as_json:
        cells = capacity_of(found)
        print_json(cells.to_record() if cells else None)
    else:
        print_capacity(found, console())
