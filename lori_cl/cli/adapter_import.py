"""The command `lori-cl import`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.cli.paths import UserPath
from lori_cl.cli.permissions import permission_options
from lori_cl.cli.workspace import pass_workspace


@click.command("import")
@click.argument("folder", type=UserPath())
@click.argument("curriculum", type=UserPath())
@click.option("--name", help="Name of the new run (default: CURRICULUM-METHOD-SEED).")
@click.option("--mask", type=UserPath(), help="The adapter's mask file, in the format that LoRI publishes.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a value of the curriculum."
)
@permission_options
@json_option
@pass_workspace
def import_(
    workspace: Workspace,
    folder: Path,
    curriculum: Path,
    name: str | None,
    mask: Path | None,
    settings: tuple[str, ...],
    allow_code_execution: bool,
    trust_tasks: bool,
    as_json: bool,
) -> None:
    """Start a run of CURRICULUM from an existing adapter: a PEFT LoRA or LoRI in FOLDER.

    The adapter becomes that of the first task of CURRICULUM. This task owns the cells of B that are not zero,
    or those in --mask. `lori-cl run CURRICULUM` then trains the other tasks in free cells.

    \b
    Example:
      lori-cl import agnews-lora curriculum.yaml --name second
      lori-cl run curriculum.yaml --name second
    """
    from lori_cl.reports import print_outcome, to_record

    spec = workspace.read_curriculum(curriculum, settings)
    with bars() as progress:
        imported = workspace.import_adapter(
            folder,
            spec,
            name,
            mask=mask,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            declared_in=curriculum.parent,
            progress=progress,
        )
    outcome = imported.gather()
    print_json(to_record(outcome)) if as_json else print_outcome(outcome, console())
