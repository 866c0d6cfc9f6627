"""The command `lori-cl retire-task`."""

from __future__ import annotations

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.workspace import pass_workspace


@click.command("retire-task")
@click.argument("run")
@click.argument("task")
@click.option(
    "--force", is_flag=True, help="Retire the task even if later tasks were trained on top of its cells."
)
@pass_workspace
def retire_task(workspace: Workspace, run: str, task: str, force: bool) -> None:
    """Free the cells that TASK owns in RUN for later tasks. Recorded scores are kept.

    \b
    Example:
      lori-cl retire-task first agnews
    """
    retired = Run(workspace, run).retire_task(task, force=force)
    free = f"{retired.cells:,} cells are free for the next task of {run}"
    print_line(f"{retired.task} retired: {'its values are no longer used' if retired.overlap else free}.")
    if retired.dependents:
        others = ", ".join(retired.dependents)
        print_line(f"Trained on top of it, and now without it in the current view: {others}")
