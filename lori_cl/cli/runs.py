"""The commands `lori-cl runs` and `lori-cl capacity`."""

from __future__ import annotations

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import console, json_option, print_json
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("name", required=False)
@click.option(
    "--lineage", is_flag=True, help="Show the data, seeds, digests and package versions of run NAME."
)
@json_option
@pass_workspace
def runs(workspace: Workspace, name: str | None, lineage: bool, as_json: bool) -> None:
    """List the runs, or show the stages and settings of run NAME. With NAME, --json includes the lineage.

    \b
    Example:
      lori-cl runs first
      lori-cl runs first --lineage
    """
    from lori_cl.reports import print_lineage, print_run, print_runs

    if lineage and name is None:
        raise click.UsageError("--lineage requires a run: lori-cl runs NAME --lineage")
    if name is None:
        found = workspace.runs()
        print_json(found.to_records()) if as_json else print_runs(found.summaries, console())
        return
    run = Run(workspace, name)
    if as_json:
        print_json(run.to_record())
        return
    record = run.record
    if lineage:
        print_lineage(record, console())
    else:
        print_run(record, console(), held_back=workspace.storage.held_back_stage(record))


@click.command()
@click.argument("run")
@json_option
@pass_workspace
def capacity(workspace: Workspace, run: str, as_json: bool) -> None:
    """Show the cells of RUN, per site and per task, and how many more tasks fit.

    \b
    Example:
      lori-cl capacity first
    """
    from lori_cl.reports import print_capacity

    found = Run(workspace, run)
    if as_json:
        cells = found.capacity()
        print_json(cells.to_record() if cells else None)
    else:
        print_capacity(found.record, console())
