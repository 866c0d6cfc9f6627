"""`lori-cl run`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.registry.workspace import Workspace


@click.command()
@click.argument("curriculum", type=click.Path(path_type=Path))
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
    from lori_cl.masks import STRATEGIES  # torch comes with these
    from lori_cl.methods import METHODS
    from lori_cl.reports import gather, print_outcome, to_record
    from lori_cl.spec import load_curriculum
    from lori_cl.training import RunOptions, run_curriculum
    from lori_cl.training.launch import is_writer

    with workspace.read() as registry:
        registered = {n for task in registry.tasks() for n in (task.name, f"{task.name}@{task.version}")}
    known = {"method": METHODS, "masks.strategy": STRATEGIES, "tasks": registered}
    spec = load_curriculum(curriculum, settings, known)
    options = RunOptions(
        upper_triangle=upper_triangle,
        measure_all=measure_all,
        allow_code_execution=allow_code_execution,
        allow_environment_change=allow_environment_change,
        declared_in=curriculum.parent,
    )
    with bars() as observer:
        done = run_curriculum(workspace, spec, spec.run_name(name), options, observer)
    with workspace.read() as registry:
        outcome = gather(registry, done.name)
    if not is_writer():  # of several processes of a launcher, one speaks
        return
    print_json(to_record(outcome)) if as_json else print_outcome(outcome, console())
