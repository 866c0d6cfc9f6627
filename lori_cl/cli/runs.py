"""The commands `lori-cl runs` and `lori-cl capacity`."""

from __future__ import annotations

import click

from lori_cl.cli.output import console, json_option, print_json
from lori_cl.registry.workspace import Workspace


@click.command()
@click.argument("name", required=False)
@click.option(
    "--lineage", is_flag=True, help="Show the data, seeds, digests and package versions of run NAME."
)
@json_option
@click.pass_obj
def runs(workspace: Workspace, name: str | None, lineage: bool, as_json: bool) -> None:
    """List the runs, or show the stages and settings of run NAME. With NAME, --json includes the lineage.

    \b
    Example:
      lori-cl runs first
      lori-cl runs first --lineage
    """
    from lori_cl.reports import print_lineage, print_run, print_runs, run_record, run_summary

    if lineage and name is None:
        raise click.UsageError("--lineage requires a run: lori-cl runs NAME --lineage")
    with workspace.read() as registry:
        if name is None:
            found = registry.run_summaries()
            print_json([run_summary(run) for run in found]) if as_json else print_runs(found, console())
            return
        run = registry.run(name)
    if as_json:
        print_json(run_record(run, workspace.held_back_stage(run)))
    elif lineage:
        print_lineage(run, console())
    else:
        print_run(run, console(), held_back=workspace.held_back_stage(run))


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
