"""The command `lori-cl demo`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.cli.report import write
from lori_cl.registry.safe_paths import require_own_file
from lori_cl.registry.workspace import Workspace

FOLDER = Path("lori-demo")


@click.command()
@json_option
@click.pass_obj
def demo(workspace: Workspace, as_json: bool) -> None:
    """Train a small bundled model on four small tasks, once with lori and once with a plain LoRA.

    Creates the workspace lori-demo in the current folder (or uses --workspace) and writes report.html there.
    Needs no network and takes a few minutes on two cores. Repeat the command to resume an interrupted demo.
    One task is scored by running the one-line programs that the model writes; each runs contained.

    \b
    Example:
      lori-cl demo
    """
    from lori_cl.demo import run_demo  # imports torch
    from lori_cl.reports import FORMATS, gather, print_report, to_record

    if workspace.root == Path():
        workspace = Workspace(FOLDER, workspace.url)
    with bars() as progress:
        runs = run_demo(workspace, progress)
    with workspace.read() as registry:
        reports = [gather(registry, run.name, workspace.artifacts) for run in runs]
    page = workspace.path("report.html")
    require_own_file(page)
    write(page, FORMATS["html"](reports))
    print_json([to_record(report) for report in reports]) if as_json else print_report(reports, console())
