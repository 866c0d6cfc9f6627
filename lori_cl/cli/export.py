"""The command `lori-cl export`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.option("--task", help="Export the adapter of this task, as trained.")
@click.option(
    "--view", type=click.Choice(["current"]), help="Export the adapter of all tasks trained so far."
)
@click.option(
    "--out", type=UserPath(), required=True, help="The folder to write; it must not exist yet, or be empty."
)
@click.option(
    "--no-verify",
    is_flag=True,
    help="Skip loading the folder with PEFT to compare its outputs with the run's.",
)
@pass_workspace
def export(
    workspace: Workspace, run: str, task: str | None, view: str | None, out: Path, no_verify: bool
) -> None:
    """Export RUN, or one of its tasks, as a standard PEFT LoRA folder for PeftModel.from_pretrained.

    A task is exported as trained. In a run with stacked tasks, that includes the cells of earlier tasks. Do
    not add such adapters up: use `lori-cl merge`, which takes only the cells of each task.

    \b
    Example:
      lori-cl export first --task agnews --out agnews-lora
      lori-cl export first --view current --out first-lora
    """
    if (task is None) == (view is None):
        raise click.UsageError("export requires either --task TASK or --view current")
    done = Run(workspace, run).export(task, out, verify=not no_verify)
    base_tasks = f", trained on top of {', '.join(done.stacked_on)}" if done.stacked_on else ""
    print_line(f"Wrote {done.folder}: a LoRA of rank {done.rank} for {', '.join(done.tasks)}{base_tasks}.")
    if done.heads:
        print_line(f"Heads: {', '.join(done.heads)}; README.md shows how to load them.")
    if done.largest_difference is not None:
        difference = done.largest_difference
        verdict = f"differ by at most {difference:g}" if difference else "are bitwise equal"
        print_line(f"Checked with PEFT: the outputs of the folder and of the run {verdict}.")
