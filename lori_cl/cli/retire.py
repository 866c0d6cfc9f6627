"""The command `lori-cl retire-task`."""

from __future__ import annotations

import click

from lori_cl.cli.output import print_line
from lori_cl.registry import Workspace


@click.command("retire-task")
@click.argument("run")
@click.argument("task")
@click.option(
    "--force", is_flag=True, help="Retire the task even if later tasks were trained on top of its cells."
)
@click.pass_obj
def retire_task(workspace: Workspace, run: str, task: str, force: bool) -> None:
    """Free the cells that TASK owns in RUN for later tasks. Recorded scores are kept.

    \b
    Example:
      lori-cl retire-task first agnews
    """
    from lori_cl.serving.retire import retire_task

    retired = retire_task(workspace, run, task, force=force)
    free = f"{retired.cells:,} cells are free for the next task of {run}"
    print_line(f"{retired.task} retired: {'its values are no longer used' if retired.overlap else free}.")
    if retired.dependents:
        others = ", ".join(retired.dependents)
        print_line(f"Trained on top of it, and now without it in the current view: {others}")
