"""The command `lori-cl report`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.implementation_name import ImplementationName
from lori_cl.cli.output import console, print_document, print_written
from lori_cl.cli.paths import UserPath
from lori_cl.cli.workspace import pass_workspace

FORMAT_NAMES = ("html", "md", "csv", "json", "png", "svg")
"""The built-in names in `lori_cl.reports.FORMATS`, repeated here so that --help needs no import."""

FORMAT = ImplementationName("lori_cl.report_formats", FORMAT_NAMES)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--format",
    "format_name",
    type=FORMAT,
    help="Write this format instead of tables for the terminal.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=UserPath(dir_okay=False),
    help="Write to this file; the file extension selects the format.",
)
@pass_workspace
def report(
    workspace: Workspace, runs: tuple[str, ...], format_name: str | None, as_json: bool, output: Path | None
) -> None:
    """Show the score matrices, metrics (such as forgetting), capacity and lineage of each RUN.

    Several runs are shown side by side.

    \b
    Example:
      lori-cl report first second --format html -o report.html
    """
    from lori_cl.reports import print_report

    format_name = "json" if as_json else format_name or _format_of(output)
    reports = workspace.compare(*runs)
    if format_name is None:
        print_report(reports, console())
        return
    content = reports.report(output, format_name)
    if output is None:
        print_document(content, format_name)
    else:
        print_written(output, len(content))


def _format_of(output: Path | None) -> str | None:
    if output is None:
        return None
    extension = output.suffix.removeprefix(".")
    if extension not in FORMAT.names:
        raise click.BadParameter(
            f"'{output}' ends in none of {', '.join(FORMAT.names)}; add --format FORMAT", param_hint="-o"
        )
    return extension
