"""The command `lori-cl receipt`."""

from __future__ import annotations

from pathlib import Path

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_document, print_line, print_written
from lori_cl.cli.paths import UserPath
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.option(
    "-o",
    "--output",
    type=UserPath(dir_okay=False),
    metavar="FILE",
    help="Write the receipt to FILE instead of stdout.",
)
@click.option(
    "--sign",
    "key",
    type=UserPath(dir_okay=False),
    metavar="KEY",
    help="Sign FILE with this SSH key; the signature is written to FILE.sig.",
)
@pass_workspace
def receipt(workspace: Workspace, run: str, output: Path | None, key: Path | None) -> None:
    """Export the receipt of RUN: a JSON file with the digests of all stages and scores.

    Keep it where users with write access to the workspace cannot change it. Later,
    `lori-cl verify RUN --receipt FILE` detects whether a stage or a score was changed or removed.

    \b
    Example:
      lori-cl receipt first -o first.receipt.json
      lori-cl receipt first -o first.receipt.json --sign ~/.ssh/id_ed25519
    """
    if key is not None and output is None:
        raise click.UsageError("--sign requires a file: add -o FILE")
    found = Run(workspace, run)
    content = found.receipt(output)
    if output is None:
        print_document(content, "json")
        return
    print_written(output, len(content))
    if key is not None:
        print_line(f"Signed: {found.sign_receipt(output, key)}", err=True)
