"""The command `lori-cl delete-run`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import confirm, json_option, print_json, print_line
from lori_cl.cli.workspace import pass_workspace

if TYPE_CHECKING:
    from lori_cl.registry import RunDeletion


@click.command("delete-run")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--yes", is_flag=True, help="Delete without asking for confirmation.")
@json_option
@pass_workspace
def delete_run(workspace: Workspace, name: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete run NAME with its stages, scores and checkpoints.

    The run is refused if another run has cached scores that only this run measured, because `lori-cl verify`
    needs them. Files that no other run uses are then listed by `lori-cl gc`.

    \b
    Example:
      lori-cl delete-run first --dry-run
      lori-cl delete-run first --yes
    """
    if not dry_run and not yes:
        found = workspace.delete_run(name, dry_run=True)
        if not confirm(f"Delete {_content(found)}?"):
            raise click.UsageError(f"run '{name}' was not deleted; answer y, or add --yes")
    done = workspace.delete_run(name, dry_run=dry_run)
    if as_json:
        print_json(asdict(done))
        return
    print_line(f"{'Deleted' if done.deleted else 'Would delete'} {_content(done)}.")
    if done.unused_artifacts:
        files = f"{done.unused_artifacts:,} artifacts, {done.unused_bytes:,} bytes"
        print_line(f"No other run uses {files}; lori-cl gc --delete deletes their files.")
    if done.files_kept_for:
        print_line(f"Kept its checkpoints: {', '.join(done.files_kept_for)} may have a run of this name.")
    if done.logs is not None:
        print_line(f"Kept its logs: {done.logs}")


def _content(found: RunDeletion) -> str:
    """Return 'run first: 2 stages, 14 scores, checkpoints of 1,234 bytes'."""
    counts = {"stage": found.stages, "score": found.scores}
    parts = [f"{n:,} {name}{'s' * (n != 1)}" for name, n in counts.items()]
    if found.checkpoint_bytes:
        parts.append(f"checkpoints of {found.checkpoint_bytes:,} bytes")
    if found.held_back:
        parts.append("a held-back stage")
    return f"run {found.run}: {', '.join(parts)}"
