"""`lori-cl demo`."""

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
    """Teach four small tasks to a small model that comes with lori_cl, with lori and with a plain LoRA.

    Makes the workspace lori-demo in this folder (or the one that --workspace names) and a report in it.
    Needs no network and a few minutes on two cores; called again, it goes on where it was stopped. One task
    is scored by running the one-line programs that the model writes, each contained.

    \b
    Example:
      lori-cl demo
    """
    from lori_cl.demo import run_demo  # torch comes with it
    from lori_cl.reports import FORMATS, gather, print_report, to_record

    if workspace.root == Path():
        workspace = Workspace(FOLDER, workspace.url)
    with bars() as observer:
        runs = run_demo(workspace, observer)
    with workspace.read() as registry:
        reports = [gather(registry, run.name, workspace.artifacts) for run in runs]
    page = workspace.place("report.html")
    require_own_file(page)
    write(page, FORMATS["html"](reports))
    print_json([to_record(report) for report in reports]) if as_json else print_report(reports, console())
