"""The command `lori-cl demo`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import bars, console, json_option, print_json, print_written
from lori_cl.cli.workspace import pass_workspace
from lori_cl.registry.workspace import Workspace as Storage

FOLDER = Path("lori-demo")


@click.command()
@click.option(
    "--model",
    type=click.Choice(["tiny", "smollm"]),
    default="tiny",
    show_default=True,
    help="Base model: a bundled one of 2.2 M parameters, or SmolLM2-135M-Instruct (the extra 'smollm').",
)
@json_option
@pass_workspace
def demo(workspace: Workspace, model: str, as_json: bool) -> None:
    """Train a small model on a few small tasks, once with lori and once with a plain LoRA.

    Creates the workspace lori-demo in the current folder (or uses --workspace) and writes report.html there.
    Needs no network. With the bundled model it takes a few minutes on two cores. Repeat the command to
    resume an interrupted demo.
    One task is scored by running the one-line programs that the model writes; each runs contained.

    \b
    Example:
      lori-cl demo
    """
    from lori_cl.reports import print_report

    if workspace.root == Path():
        workspace = Workspace.of(Storage(FOLDER, workspace.storage.url))
    with bars() as progress:
        done = workspace.run_demo(model=model, progress=progress)
    print_written(done.page, done.page.stat().st_size)
    print_json(done.comparison.to_records()) if as_json else print_report(done.comparison, console())
