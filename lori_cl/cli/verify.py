"""`lori-cl verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from lori_cl.cli.output import bars, json_option, print_json
from lori_cl.errors import Untruth
from lori_cl.registry.workspace import Workspace

if TYPE_CHECKING:
    from lori_cl.serving.verify import Checked  # torch comes with it


@click.command()
@click.argument("run")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--remeasure", is_flag=True, help="Score TASKs again, or all, and compare every outcome.")
@click.option(
    "--allow-code-execution", is_flag=True, help="Run what the model writes, contained, to score code tasks."
)
@json_option
@click.pass_obj
def verify(
    workspace: Workspace,
    run: str,
    tasks: tuple[str, ...],
    remeasure: bool,
    allow_code_execution: bool,
    as_json: bool,
) -> None:
    """Check that RUN is what the registry says of it: every file, stage, seed, A, mask and score.

    One line a check. Ends at the first untruth, with exit code 1. Needs no base model, unless scores are
    measured again.

    \b
    Example:
      lori-cl verify first
      lori-cl verify first sst2 --remeasure
    """
    if tasks and not remeasure:
        raise click.UsageError("tasks are named to be scored again: add --remeasure")
    checks = _checks(workspace, run, tasks, remeasure, allow_code_execution)
    _print_json(run, checks) if as_json else _print(checks)


def _checks(
    workspace: Workspace, run: str, tasks: tuple[str, ...], remeasure: bool, allow_code_execution: bool
) -> Iterator[Checked]:
    from lori_cl.serving.checks import CHECKS
    from lori_cl.serving.remeasure import RemeasureOptions
    from lori_cl.serving.remeasure import remeasure as measure_again
    from lori_cl.serving.verify import verify

    with workspace.read() as registry, bars() as observer:
        options = RemeasureOptions(tasks, allow_code_execution)
        again = measure_again(workspace, registry, run, options, observer) if remeasure else ()
        with observer.bar(f"verifying {run}", len(CHECKS)) as advance:
            for passed in verify(workspace, registry, run):
                yield passed
                advance(1)
        yield from again


def _print(checks: Iterable[Checked]) -> None:
    for passed in checks:
        click.echo(f"{passed.check}: {passed.found}")


def _print_json(run: str, checks: Iterable[Checked]) -> None:
    """One value at the end: what was passed, and the untruth, which is raised then."""
    passed, untruth = [], None
    try:
        for each in checks:
            passed.append({"check": each.check, "found": each.found})
    except Untruth as error:
        untruth = error
    print_json({"run": run, "passed": passed, "untruth": None if untruth is None else str(untruth)})
    if untruth is not None:
        raise untruth
