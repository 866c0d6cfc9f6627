"""The commands `lori-cl add-task` and `lori-cl tasks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from lori_cl.api.workspace import TaskPreview, Workspace
from lori_cl.cli.output import console, json_option, print_json, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.workspace import pass_workspace


@click.command("add-task")
@click.argument("files", nargs=-1, required=True, type=UserPath())
@click.option("--dry-run", is_flag=True, help="Show example prompts and their token lengths; store nothing.")
@click.option(
    "--model",
    metavar="PATH",
    help="With --dry-run: count tokens with the tokenizer of this model.path, and list its sites.",
)
@click.option(
    "--max-length", default=128, show_default=True, help="With --dry-run: the value of train.max_length."
)
@json_option
@pass_workspace
def add_task(
    workspace: Workspace,
    files: tuple[Path, ...],
    dry_run: bool,
    model: str | None,
    max_length: int,
    as_json: bool,
) -> None:
    """Register the tasks declared in YAML FILES, and freeze their eval sets.

    Registers all tasks, or none if one is invalid. A changed declaration becomes a new version of the task.

    \b
    Example:
      LORI_CL_DATA=~/data lori-cl add-task tasks/cl_bench/sst2.yaml tasks/cl_bench/agnews.yaml
    """
    if dry_run:
        _print_preview(workspace.preview_task(*files, model=model, max_length=max_length), as_json)
        return
    from lori_cl.reports import task_record

    added = workspace.add_task(*files)
    _warn([warning for registered in added for warning in registered.warnings])
    if as_json:
        print_json([{**task_record(registered.task), "is_new": registered.is_new} for registered in added])
        return
    for registered in added:
        task = registered.task
        outcome = "added" if registered.is_new else "already registered, unchanged"
        if registered.is_new and task.version > 1:
            outcome = f"changed since version {task.version - 1}: added as version {task.version}"
        print_line(f"{task.name}: {outcome} ({task.kind}, {task.eval_set.n:,} eval examples)")
        for message in (registered.inferred, *task.skipped):
            if message is not None:
                print_line(f"  {message}")


def _warn(warnings: Sequence[str]) -> None:
    """Print one line per warning on stderr."""
    for warning in warnings:
        print_line(f"Warning: {warning}", err=True)


def _print_preview(preview: TaskPreview, as_json: bool) -> None:
    parts, sites = preview.splits, preview.sites
    _warn([warning for part in parts for warning in part.warnings])
    if as_json:
        print_json([{**asdict(part), "sites": sites} for part in parts])
        return
    for line in sites:
        print_line(line)
    for inferred in dict.fromkeys(f"{part.task}: {part.inferred}" for part in parts if part.inferred):
        print_line(inferred)
    for part in parts:
        print_line(f"{part.task}, {part.split}: {part.n:,} examples")
        if part.skipped is not None:
            print_line(f"  {part.skipped}")
        if part.lengths is not None:
            lengths = part.lengths
            print_line(
                f"  tokens: median {lengths.median:,}, longest {lengths.longest:,}; "
                f"{lengths.truncated:,} truncated to {lengths.max_length:,}"
            )
        for example in part.first:
            others = "".join(f" or {answer!r}" for answer in example.answers[1:])
            print_line(f"  {example.text!r} → {example.target!r}{others}")


@click.command()
@click.argument("name", required=False)
@json_option
@pass_workspace
def tasks(workspace: Workspace, name: str | None, as_json: bool) -> None:
    """List the registered tasks, or show task NAME (NAME@2 for its second version).

    \b
    Example:
      lori-cl tasks sst2 --json
    """
    from lori_cl.reports import print_task, print_tasks, task_record

    if name is not None:
        task = workspace.task(name)
        print_json(task_record(task)) if as_json else print_task(task, console())
        return
    found = workspace.tasks()
    print_json([task_record(task) for task in found]) if as_json else print_tasks(found, console())
