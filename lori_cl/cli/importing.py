"""`lori-cl import`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.cli.curriculum import read_curriculum
from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.cli.paths import UserPath
from lori_cl.registry import Workspace


@click.command("import")
@click.argument("folder", type=UserPath())
@click.argument("curriculum", type=UserPath())
@click.option("--name", help="The new run's name; curriculum-method-seed where not given.")
@click.option("--mask", type=UserPath(), help="The adapter's own mask, as LoRI publishes it.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Lay a value over the curriculum."
)
@click.option(
    "--allow-code-execution", is_flag=True, help="Run what the model writes, contained, to score it."
)
@json_option
@click.pass_obj
def import_(
    workspace: Workspace,
    folder: Path,
    curriculum: Path,
    name: str | None,
    mask: Path | None,
    settings: tuple[str, ...],
    allow_code_execution: bool,
    as_json: bool,
) -> None:
    """Begin the run of CURRICULUM with the adapter in FOLDER, a PEFT LoRA or a LoRI, as its first task's.

    The cells of B that are not zero (or that stand in its mask) are claimed; `lori-cl run CURRICULUM` then
    learns the other tasks beside them.

    \b
    Example:
      lori-cl import agnews-lora curriculum.yaml --name second
      lori-cl run curriculum.yaml --name second
    """
    from lori_cl.reports import gather, print_outcome, to_record
    from lori_cl.serving.importing import import_folder
    from lori_cl.training import RunOptions

    spec = read_curriculum(workspace, curriculum, settings)
    options = RunOptions(allow_code_execution=allow_code_execution, declared_in=curriculum.parent)
    with bars() as observer:
        done = import_folder(workspace, folder, spec, spec.run_name(name), mask, options, observer)
    with workspace.read() as registry:
        outcome = gather(registry, done.name, workspace.artifacts)
    print_json(to_record(outcome)) if as_json else print_outcome(outcome, console())
