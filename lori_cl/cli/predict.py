"""`lori-cl predict`."""

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
@click.option("--task", help="The task whose cells answer; rows may name their own as `task`.")
@click.option("--route", is_flag=True, help="Guess each text's task; needs lori-cl route once.")
@click.option(
    "--file",
    "file",
    type=UserPath(allow_dash=True),
    help="JSON lines (an object of columns each) or plain lines of text, none of which begins with "
    '{, [ or "; - is standard input.',
)
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
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
    """Answer TEXTS, or the lines of a file or of standard input, with what RUN has learned; JSON lines out.

    \b
    Example:
      lori-cl predict first --task sst2 "a gripping, moving film"
      lori-cl predict first --file rows.jsonl > answers.jsonl
    """
    from lori_cl.serving.asked import read_rows, routed
    from lori_cl.serving.predict import Predictor, answered
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
        rows = routed(loaded, load_router(loaded), lines, plain=bool(texts))
    else:
        rows = read_rows(loaded, lines, task, plain=bool(texts))
    predictor = Predictor(loaded)
    for record in answered(predictor, rows, batch_size):
        print_json_line(record)


def _lines(file: Path | None) -> tuple[str, ...]:
    try:
        told = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        text = told.decode("utf-8-sig")
    except OSError as error:
        raise click.FileError(str(file), error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise click.FileError(str(file), str(error)) from None
    # Not splitlines(): a JSON string may hold U+2028 or U+0085.
    return tuple(line.removesuffix("\r") for line in text.split("\n"))
