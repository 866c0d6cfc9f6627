"""The command `lori-cl run`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import bars, console, json_option, print_json, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.permissions import permission_options
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("curriculum", type=UserPath())
@click.option("--name", help="Name of the run (default: CURRICULUM-METHOD-SEED).")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the curriculum, for example train.limit=200; may be repeated.",
)
@click.option("--upper-triangle", is_flag=True, help="Also score tasks before they are trained.")
@click.option(
    "--measure-all",
    is_flag=True,
    help="Measure every score, including those that could be taken from the cache.",
)
@permission_options
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="Hold a stage back, and exit with code 1, if an earlier task drops further below its best score.",
)
@click.option(
    "--view",
    type=click.Choice(["as_trained", "current", "routed"]),
    help="The view whose scores --max-drop compares (default: current).",
)
@click.option("--accept", metavar="TASK", help="Accept and commit the held-back stage of this task.")
@click.option(
    "--allow-environment-change",
    is_flag=True,
    help="Resume even if packages, threads or the machine differ from those of the newest stage.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything and show sites, steps, scores, memory and time; train and store nothing.",
)
@json_option
@pass_workspace
def run(
    workspace: Workspace,
    curriculum: Path,
    name: str | None,
    settings: tuple[str, ...],
    upper_triangle: bool,
    measure_all: bool,
    allow_code_execution: bool,
    trust_tasks: bool,
    max_drop: float | None,
    view: str | None,
    accept: str | None,
    allow_environment_change: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the tasks of CURRICULUM one after another, and score all trained tasks after every stage.

    Repeat the command to resume from the first stage that is not committed; if all are committed, it does
    nothing. To add tasks later, append them to the curriculum and repeat the command.

    \b
    Example:
      lori-cl run examples/real_text/curriculum.yaml --name first --set train.limit=200
      lori-cl run examples/real_text/curriculum.yaml --name first --dry-run
    """
    from lori_cl.reports import plan_record, print_outcome, print_plan, to_record
    from lori_cl.runtime.distributed import is_rank_0
    from lori_cl.spec import View
    from lori_cl.training import Gate  # imports torch

    spec = workspace.read_curriculum(curriculum, settings)
    if view is not None and max_drop is None:
        raise click.UsageError("--view selects the scores of --max-drop; add --max-drop POINTS")
    gate = None if max_drop is None else Gate(max_drop, View(view or View.CURRENT))
    options: dict[str, Any] = {
        "gate": gate,
        "upper_triangle": upper_triangle,
        "measure_all": measure_all,
        "allow_code_execution": allow_code_execution,
        "trust_tasks": trust_tasks,
        "allow_environment_change": allow_environment_change,
        "declared_in": curriculum.parent,
    }
    if dry_run:
        if accept is not None:
            raise click.UsageError("--accept commits a stage; remove it or --dry-run")
        plan = workspace.plan_run(spec, name, **options)
        if is_rank_0():
            print_json(plan_record(plan)) if as_json else print_plan(plan, console())
        return
    with bars() as progress:
        finished = workspace.run(
            spec, name, accept=accept, progress=progress, announce=partial(print_line, err=True), **options
        )
    outcome = finished.gather()
    if not is_rank_0():  # with several processes, only rank 0 prints
        return
    print_json(to_record(outcome)) if as_json else print_outcome(outcome, console())
