"""`lori-cl export`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.cli.output import print_line
from lori_cl.cli.paths import UserPath
from lori_cl.registry import Workspace


@click.command()
@click.argument("run")
@click.option("--task", help="Export this task's adapter, as it was trained.")
@click.option("--view", type=click.Choice(["current"]), help="Export everything learned so far.")
@click.option("--out", type=UserPath(), required=True, help="A folder that is not there yet.")
@click.option("--no-verify", is_flag=True, help="Do not load it with PEFT to compare the outputs.")
@click.pass_obj
def export(
    workspace: Workspace, run: str, task: str | None, view: str | None, out: Path, no_verify: bool
) -> None:
    """Write a task of RUN, or all of it, as an ordinary PEFT LoRA folder that PeftModel.from_pretrained
    loads.

    A task comes as it was trained: where tasks are stacked, with the cells of those before it, which is why
    exported tasks of one run cannot be added up. `lori-cl merge` takes each task's own cells alone.

    \b
    Example:
      lori-cl export first --task agnews --out agnews-lora
      lori-cl export first --view current --out first-lora
    """
    from lori_cl.serving.export import export
    from lori_cl.training import load_run

    if (task is None) == (view is None):
        raise click.UsageError("say what to export: either --task TASK or --view current")
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, run)
    done = export(loaded, task, out, verify=not no_verify)
    beneath = f", trained on top of {', '.join(done.beneath)}" if done.beneath else ""
    print_line(f"Wrote {done.folder}: a LoRA of rank {done.rank} for {', '.join(done.tasks)}{beneath}.")
    if done.heads:
        print_line(f"Heads: {', '.join(done.heads)}; README.md shows how to load them.")
    if done.largest_difference is not None:
        difference = done.largest_difference
        verdict = f"differ by at most {difference:g}" if difference else "are equal bit by bit"
        print_line(f"Loaded with PEFT, its outputs and this run's {verdict}.")
