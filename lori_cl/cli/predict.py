"""The command `lori-cl predict`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_json_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.argument("texts", nargs=-1)
@click.option("--task", help="The task whose adapter answers; a row may name its own in the column `task`.")
@click.option(
    "--route", is_flag=True, help="Predict the task of each text; requires one earlier `lori-cl route RUN`."
)
@click.option(
    "--file",
    "file",
    type=UserPath(allow_dash=True),
    help="Read JSON lines (one object of columns per line) or plain lines of text; - is standard input. "
    'Plain lines must not begin with {, [ or ".',
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Texts per forward pass."
)
@pass_workspace
def predict(
    workspace: Workspace,
    run: str,
    texts: tuple[str, ...],
    task: str | None,
    route: bool,
    file: Path | None,
    batch_size: int,
) -> None:
    """Predict answers for TEXTS, or for the lines of a file or of standard input, with the trained RUN.

    Prints one line of JSON per text.

    \b
    Example:
      lori-cl predict first --task sst2 "a gripping, moving film"
      lori-cl predict first --file rows.jsonl > answers.jsonl
    """
    if texts and file is not None:
        raise click.UsageError("give texts or --file, not both")
    if route and task is not None:
        raise click.UsageError("give --task or --route, not both")
    lines = texts or _lines(file)
    found = Run(workspace, run)
    for record in found.predict_lines(lines, task, route=route, plain=bool(texts), batch_size=batch_size):
        print_json_line(record)


def _lines(file: Path | None) -> tuple[str, ...]:
    try:
        content = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise click.FileError(str(file), error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise click.FileError(str(file), str(error)) from None
    # Not splitlines(): a JSON string may hold U+2028 or U+0085.
    return tuple(line.removesuffix("\r") for line in text.split("\n"))
