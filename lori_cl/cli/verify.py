"""The command `lori-cl verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lori_cl.cli.output import bars, json_option, print_json, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.errors import VerificationError
from lori_cl.registry.workspace import Workspace

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


@dataclass(frozen=True)
class _Request:
    """The parsed arguments of the command."""

    run: str
    remeasure: bool
    tasks: tuple[str, ...]
    stages: frozenset[int] | None
    allow_code_execution: bool
    receipt: str | None
    signed_by: Path | None


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
@click.option(
    "--allow-code-execution",
    is_flag=True,
    help="Run model-generated programs, contained, to score code tasks.",
)
@json_option
@click.pass_obj
def verify(workspace: Workspace, /, as_json: bool, **arguments: Any) -> None:
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
    request = _Request(**arguments)
    if request.tasks and not request.remeasure:
        raise click.UsageError("TASK requires --remeasure: add --remeasure")
    if request.stages is not None and not request.remeasure:
        raise click.UsageError("--stages requires --remeasure: add --remeasure")
    if request.signed_by is not None and request.receipt is None:
        raise click.UsageError("--signed-by requires a receipt: add --receipt FILE")
    checks = _checks(workspace, request)
    _print_json(request.run, checks) if as_json else _print(checks)


def _checks(workspace: Workspace, request: _Request) -> Iterator[CheckResult]:
    from lori_cl.serving.checks import CHECKS
    from lori_cl.serving.receipts import check_receipt
    from lori_cl.serving.remeasure import RemeasureOptions
    from lori_cl.serving.remeasure import remeasure as remeasure_scores
    from lori_cl.serving.verify import verify

    run = request.run
    with workspace.read() as registry, bars() as progress:
        options = RemeasureOptions(request.tasks, request.allow_code_execution, request.stages)
        remeasured = (
            remeasure_scores(workspace, registry, run, options, progress) if request.remeasure else ()
        )
        with progress.bar(f"verifying {run}", len(CHECKS)) as advance:
            for passed in verify(workspace, registry, run):
                yield passed
                advance(1)
        if request.receipt is not None:
            yield check_receipt(registry, run, request.receipt, request.signed_by)
        yield from remeasured


def _print(checks: Iterable[CheckResult]) -> None:
    for passed in checks:
        print_line(f"{passed.check}: {passed.found}")


def _print_json(run: str, checks: Iterable[CheckResult]) -> None:
    """Print one JSON value at the end: the passed checks and the failure, which is raised afterwards."""
    passed, failure = [], None
    try:
        for each in checks:
            passed.append({"check": each.check, "found": each.found})
    except VerificationError as error:
        failure = error
    print_json({"run": run, "passed": passed, "untruth": None if failure is None else str(failure)})
    if failure is not None:
        raise failure
