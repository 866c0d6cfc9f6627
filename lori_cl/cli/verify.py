"""The command `lori-cl verify`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lori_cl.api.run import Run
from lori_cl.api.workspace import Workspace
from lori_cl.cli.output import bars, json_option, print_json, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.cli.permissions import permission_options
from lori_cl.cli.workspace import pass_workspace
from lori_cl.errors import VerificationError

if TYPE_CHECKING:
    from lori_cl.serving.verify import CheckResult  # imports torch


def _stages(_: click.Context, __: click.Parameter, given: str | None) -> frozenset[int] | None:
    """Parse a list of stages such as '0,2-4'."""
    if given is None:
        return None
    stages: set[int] = set()
    for part in given.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [first, last] if dash else [first, first]
        if not all(number.isdecimal() and len(number) < 6 for number in numbers):
            raise click.BadParameter(f"'{given}' is not a list of stages and ranges, such as 0,2-4")
        stages |= set(range(int(numbers[0]), int(numbers[1]) + 1))
    return frozenset(stages)


@click.command()
@click.argument("run")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option(
    "--remeasure", is_flag=True, help="Score the TASKs (default: all) again, and compare every outcome."
)
@click.option(
    "--stages",
    callback=_stages,
    metavar="LIST",
    help="Stages that --remeasure scores again, such as 0,2-4; 0 is the base model (default: all).",
)
@click.option(
    "--receipt",
    metavar="FILE",
    help="Compare the run with an exported receipt, or with a head that lori-cl run printed.",
)
@click.option(
    "--signed-by",
    type=UserPath(dir_okay=False),
    metavar="KEY.pub",
    help="Require that FILE.sig is a signature of the receipt by this SSH key.",
)
@permission_options
@json_option
@pass_workspace
def verify(
    workspace: Workspace,
    run: str,
    remeasure: bool,
    tasks: tuple[str, ...],
    stages: frozenset[int] | None,
    allow_code_execution: bool,
    trust_tasks: bool,
    receipt: str | None,
    signed_by: Path | None,
    as_json: bool,
) -> None:
    """Check RUN against the registry: every file, stage, seed, projection A, mask and score.

    Prints one line per check, and stops at the first difference with exit code 1. Needs the base model only
    for --remeasure. A user with write access to the workspace can rewrite a run so that every check passes;
    only --receipt detects that.

    \b
    Example:
      lori-cl verify first
      lori-cl verify first --receipt first.receipt.json --signed-by ~/.ssh/id_ed25519.pub
      lori-cl verify first sst2 --remeasure --stages 0,5
    """
    if tasks and not remeasure:
        raise click.UsageError("TASK requires --remeasure: add --remeasure")
    if stages is not None and not remeasure:
        raise click.UsageError("--stages requires --remeasure: add --remeasure")
    if signed_by is not None and receipt is None:
        raise click.UsageError("--signed-by requires a receipt: add --receipt FILE")
    found = Run(workspace, run)
    with bars() as progress:
        checks = found.checks(
            remeasure=remeasure,
            tasks=tasks,
            stages=stages,
            receipt=receipt,
            signed_by=signed_by,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            progress=progress,
        )
        if not as_json:
            for passed in checks:
                print_line(f"{passed.check}: {passed.found}")
            return
        found_by_check, failure = _collect(checks)
    print_json({"run": run, "passed": found_by_check, "error": None if failure is None else str(failure)})
    if failure is not None:
        raise failure


def _collect(checks: Iterable[CheckResult]) -> tuple[list[dict[str, str]], VerificationError | None]:
    """Return the passed checks and the failure, if any: JSON is one value, printed at the end."""
    passed: list[dict[str, str]] = []
    try:
        for each in checks:
            passed.append({"check": each.check, "found": each.found})
    except VerificationError as error:
        return passed, error
    return passed, None
