"""`lori-cl run`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from lori_cl.cli.curriculum import read_curriculum
from lori_cl.cli.output import bars, console, json_option, print_json, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.registry.workspace import Workspace


@click.command()
@click.argument("curriculum", type=UserPath())
@click.option("--name", help="The run's name; curriculum-method-seed where not given.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Lay a value over the file, for instance train.limit=200; as often as needed.",
)
@click.option("--upper-triangle", is_flag=True, help="Score the tasks still to come, too.")
@click.option("--measure-all", is_flag=True, help="Measure every score, also those that digests prove.")
@click.option(
    "--allow-code-execution", is_flag=True, help="Run what the model writes, contained, to score code tasks."
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="Set a stage aside, and end with exit code 1, where an earlier task falls further below its best.",
)
@click.option(
    "--view",
    type=click.Choice(["as_trained", "current", "routed"]),
    help="What --max-drop looks at; current where not given.",
)
@click.option("--accept", metavar="TASK", help="Take this task's stage, which was set aside.")
@click.option(
    "--allow-environment-change",
    is_flag=True,
    help="Go on although packages, threads or the machine are not what the newest stage had.",
)
@json_option
@click.pass_obj
def run(
    workspace: Workspace,
    curriculum: Path,
    name: str | None,
    settings: tuple[str, ...],
    upper_triangle: bool,
    measure_all: bool,
    allow_code_execution: bool,
    max_drop: float | None,
    view: str | None,
    accept: str | None,
    allow_environment_change: bool,
    as_json: bool,
) -> None:
    """Learn the tasks of CURRICULUM one after another, and score all of them after every stage.

    Called again, it goes on with the first stage that is not committed, and does nothing where all are.
    Tasks appended to the curriculum are learned on top.

    \b
    Example:
      lori-cl run examples/real_text/curriculum.yaml --name first --set train.limit=200
    """
    from lori_cl.reports import gather, print_outcome, to_record
    from lori_cl.spec import View
    from lori_cl.training import Gate, RunOptions, run_curriculum  # torch comes with it
    from lori_cl.training.launch import is_writer

    spec = read_curriculum(workspace, curriculum, settings)
    if view is not None and max_drop is None:
        raise click.UsageError("--view says what --max-drop looks at; add --max-drop")
    options = RunOptions(
        upper_triangle=upper_triangle,
        measure_all=measure_all,
        allow_code_execution=allow_code_execution,
        allow_environment_change=allow_environment_change,
        declared_in=curriculum.parent,
        gate=None if max_drop is None else Gate(max_drop, View(view or View.CURRENT)),
        accept=accept,
        announce=partial(print_line, err=True),
    )
    with bars() as observer:
        done = run_curriculum(workspace, spec, spec.run_name(name), options, observer)
    with workspace.read() as registry:
        outcome = gather(registry, done.name, workspace.artifacts)
    if not is_writer():  # of several processes of a launcher, one speaks
        return
    print_json(to_record(outcome)) if as_json else print_outcome(outcome, console())
