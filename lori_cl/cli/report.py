"""The command `lori-cl report`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.cli.output import console, print_document, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.errors import WorkspaceUnusable
from lori_cl.registry.workspace import Workspace

FORMAT_NAMES = ("html", "md", "csv", "json", "png", "svg")
"""The names in `lori_cl.reports.FORMATS`, repeated here so that --help needs no import."""


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMAT_NAMES),
    help="Write this format instead of tables for the terminal.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=UserPath(dir_okay=False),
    help="Write to this file; the file extension selects the format.",
)
@click.pass_obj
def report(
    workspace: Workspace, runs: tuple[str, ...], format_name: str | None, as_json: bool, output: Path | None
) -> None:
    """Show the score matrices, metrics (such as forgetting), capacity and lineage of each RUN.

    Several runs are shown side by side.

    \b
    Example:
      lori-cl report first second --format html -o report.html
    """
    from lori_cl.reports import FORMATS, gather, print_report

    format_name = "json" if as_json else format_name or _format_of(output)
    with workspace.read() as registry:
        reports = [gather(registry, name, workspace.artifacts) for name in dict.fromkeys(runs)]
    if format_name is None:
        print_report(reports, console())
        return
    content = FORMATS[format_name](reports)
    if output is None:
        print_document(content, format_name)
        return
    write(output, content)


def write(output: Path, content: bytes) -> None:
    """Write a report to a file, and print its name and size on stderr.

    Raises: WorkspaceUnusable.
    """
    try:
        output.write_bytes(content)
    except OSError as error:
        raise WorkspaceUnusable(f"{output} cannot be written: {error.strerror}") from error
    print_line(f"Wrote {output} ({len(content):,} bytes)", err=True)


def _format_of(output: Path | None) -> str | None:
    if output is None:
        return None
    extension = output.suffix.removeprefix(".")
    if extension not in FORMAT_NAMES:
        raise click.BadParameter(
            f"'{output}' ends in none of {', '.join(FORMAT_NAMES)}; add --format FORMAT", param_hint="-o"
        )
    return extension
