"""The command `lori-cl push`."""

from __future__ import annotations

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import print_line
from lori_cl.cli.workspace import pass_workspace


@click.command()
@click.argument("run")
@click.option("--task", required=True, help="Upload the adapter of this task, as trained.")
@click.option("--repo", required=True, metavar="NAME", help="The repository, such as user/my-lora.")
@click.option("--private", is_flag=True, help="Create a private repository; refuse an existing public one.")
@click.option("--revision", metavar="BRANCH", help="Upload to this branch; it is created if needed.")
@click.option("--dry-run", is_flag=True, help="Export and list the files, but upload nothing.")
@click.option("--no-verify", is_flag=True, help="Skip the comparison with the outputs of the run.")
@pass_workspace
def push(
    workspace: Workspace,
    run: str,
    task: str,
    repo: str,
    private: bool,
    revision: str | None,
    dry_run: bool,
    no_verify: bool,
) -> None:
    """Upload the adapter of a task of RUN to the Hugging Face hub, as `lori-cl export` writes it.

    The model card has the forgetting matrix and the lineage of the run. The token is that of HF_TOKEN or of
    `hf auth login`. The files of an earlier upload are replaced.

    \b
    Example:
      lori-cl push first --task agnews --repo user/agnews-lora --private --dry-run
    """
    done = Run(workspace, run).push(
        task, repo, private=private, revision=revision, dry_run=dry_run, verify=not no_verify
    )
    for name, size in done.files.items():
        print_line(f"{name} ({size:,} bytes)")
    if done.url is None:
        print_line(f"Dry run: nothing was uploaded to {done.repo}, branch {done.revision}.")
    else:
        print_line(f"Uploaded {done.exported.tasks[0]} to {done.url}")
