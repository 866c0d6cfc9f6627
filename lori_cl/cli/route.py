"""`lori-cl route`."""

from __future__ import annotations

import click

from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.registry.workspace import Workspace


@click.command()
@click.argument("run")
@click.option("--measure-all", is_flag=True, help="Measure again what is there, and compare.")
@click.option(
    "--allow-code-execution", is_flag=True, help="Run what the model writes, contained, to score code tasks."
)
@json_option
@click.pass_obj
def route(
    workspace: Workspace, run: str, measure_all: bool, allow_code_execution: bool, as_json: bool
) -> None:
    """Score RUN without telling it the task: each text's task is guessed, and that task answers.

    The guess is made from what the base model makes of a text; of the training texts only statistics are
    kept. Shows every task's score beside those of the other views, and which tasks its examples were taken
    for.

    \b
    Example:
      lori-cl route first
    """
    from lori_cl.reports import gather_routing, print_routing
    from lori_cl.serving.route import RouteOptions, route_run  # torch comes with it

    with bars() as observer:
        route_run(workspace, run, RouteOptions(measure_all, allow_code_execution), observer)
    with workspace.read() as registry:
        routing = gather_routing(registry, workspace.artifacts, run)
    print_json(routing.to_record()) if as_json else print_routing(routing, console())
