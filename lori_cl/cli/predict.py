"""The command `lori-cl predict`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lori_cl.cli.output import print_json_line
from lori_cl.cli.paths import UserPath
from lori_cl.registry import Workspace


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
@click.pass_obj
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
    from lori_cl.serving.predict import Predictor, predict_rows
    from lori_cl.serving.requests import read_routed_rows, read_rows
    from lori_cl.serving.route import load_router
    from lori_cl.training import load_run

    if texts and file is not None:
        raise click.UsageError("give texts or --file, not both")
    if route and task is not None:
        raise click.UsageError("give --task or --route, not both")
    lines = texts or _lines(file)
    with workspace.read() as registry:
        loaded = load_run(workspace, registry, run)
    if route:
        rows = read_routed_rows(loaded, load_router(loaded), lines, plain=bool(texts))
    else:
        rows = read_rows(loaded, lines, task, plain=bool(texts))
    predictor = Predictor(loaded)
    for record in predict_rows(predictor, rows, batch_size):
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
