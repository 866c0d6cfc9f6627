"""The command `lori-cl route`."""

from __future__ import annotations

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.cli.permissions import permission_options
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.option("--measure-all", is_flag=True, help="Measure existing scores again, and compare them.")
@permission_options
@json_option
@pass_workspace
def route(
    workspace: Workspace,
    run: str,
    measure_all: bool,
    allow_code_execution: bool,
    trust_tasks: bool,
    as_json: bool,
) -> None:
    """Score RUN without task ids: the task of each text is predicted, and that task's adapter answers.

    The prediction uses features of the base model; only statistics of the training texts are stored. Shows
    each task's routed score next to its scores in the other views, and the tasks predicted for its examples.

    \b
    Example:
      lori-cl route first
    """
    from lori_cl.reports import print_routing

    with bars() as progress:
        routing = Run(workspace, run).route(
            measure_all=measure_all,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            progress=progress,
        )
    print_json(routing.to_record()) if as_json else print_routing(routing, console())
