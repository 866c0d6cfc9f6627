"""The command `lori-cl serve`."""

from __future__ import annotations

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on; 0 chooses a free one.",
)
@click.option(
    "--api-key",
    envvar="LORI_CL_API_KEY",
    help="The key that requests must send (default: LORI_CL_API_KEY, which other users cannot read).",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Maximum number of tokens of an answer.",
)
@click.option(
    "--max-requests",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Maximum number of prompts that wait; further ones are refused with HTTP 429.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Maximum number of prompts that are answered together.",
)
@pass_workspace
def serve(
    workspace: Workspace,
    run: str,
    host: str,
    port: int,
    api_key: str | None,
    max_tokens: int,
    max_requests: int,
    batch_size: int,
) -> None:
    """Serve the trained RUN over HTTP with an OpenAI-compatible API, until Ctrl-C or SIGTERM.

    Each task is a model, which answers with the task's adapter as trained. The model `auto` predicts the task
    of each prompt; it requires one earlier `lori-cl route RUN`. Requires the extra `serve`.

    \b
    Example:
      lori-cl serve first --port 8000
    """

    def print_address(url: str, models: list[str]) -> None:
        print_line(f"Serving run '{run}' at {url} (models: {', '.join(models)}). Stop with Ctrl-C.")

    Run(workspace, run).serve(
        host,
        port,
        api_key=api_key,
        max_tokens=max_tokens,
        max_requests=max_requests,
        batch_size=batch_size,
        on_start=print_address,
    )
