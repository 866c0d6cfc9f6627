"""`lori-cl verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lori_cl.cli.output import bars, json_option, print_json, print_line
from lori_cl.cli.paths import UserPath
from lori_cl.errors import Untruth
from lori_cl.registry.workspace import Workspace

if TYPE_CHECKING:
    from lori_cl.serving.verify import Checked  # torch comes with it


def _stages(_: click.Context, __: click.Parameter, given: str | None) -> frozenset[int] | None:
    """The numbers in '0,2-4'."""
    if given is None:
        return None
    stages: set[int] = set()
    for part in given.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [first, last] if dash else [first, first]
        if not all(number.isdecimal() and len(number) < 6 for number in numbers):
            raise click.BadParameter(f"'{given}': give numbers and ranges of stages, for instance 0,2-4")
        stages |= set(range(int(numbers[0]), int(numbers[1]) + 1))
    return frozenset(stages)


@dataclass(frozen=True)
class _Request:
    """What the command was asked for."""

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
@click.option("--remeasure", is_flag=True, help="Score TASKs again, or all, and compare every outcome.")
@click.option(
    "--stages",
    callback=_stages,
    metavar="LIST",
    help="Rows that --remeasure scores, for instance 0,2-4 (0 is the base model); all where not given.",
)
@click.option(
    "--receipt",
    metavar="FILE",
    help="Compare the run with a receipt that was kept, or with a head that lori-cl run printed.",
)
@click.option(
    "--signed-by",
    type=UserPath(dir_okay=False),
    metavar="KEY.pub",
    help="Require that FILE.sig is a signature of the receipt by this SSH key.",
)
@click.option(
    "--allow-code-execution", is_flag=True, help="Run what the model writes, contained, to score code tasks."
)
@json_option
@click.pass_obj
def verify(workspace: Workspace, /, as_json: bool, **asked: Any) -> None:
    """Check that RUN is what the registry says of it: every file, stage, seed, A, mask and score.

    One line a check. Ends at the first difference, with exit code 1. Needs no base model, unless scores are
    measured again. A user who can write the workspace can rewrite a run so that every check passes; only
    --receipt finds that.

    \b
    Example:
      lori-cl verify first
      lori-cl verify first --receipt first.receipt.json --signed-by ~/.ssh/id_ed25519.pub
      lori-cl verify first sst2 --remeasure --stages 0,5
    """
    request = _Request(**asked)
    if request.tasks and not request.remeasure:
        raise click.UsageError("tasks are named to be scored again: add --remeasure")
    if request.stages is not None and not request.remeasure:
        raise click.UsageError("--stages says which rows are scored again: add --remeasure")
    if request.signed_by is not None and request.receipt is None:
        raise click.UsageError("--signed-by is the signature of a receipt: add --receipt FILE")
    checks = _checks(workspace, request)
    _print_json(request.run, checks) if as_json else _print(checks)


def _checks(workspace: Workspace, request: _Request) -> Iterator[Checked]:
    from lori_cl.serving.checks import CHECKS
    from lori_cl.serving.receipts import check_receipt
    from lori_cl.serving.remeasure import RemeasureOptions
    from lori_cl.serving.remeasure import remeasure as measure_again
    from lori_cl.serving.verify import verify

    run = request.run
    with workspace.read() as registry, bars() as observer:
        options = RemeasureOptions(request.tasks, request.allow_code_execution, request.stages)
        again = measure_again(workspace, registry, run, options, observer) if request.remeasure else ()
        with observer.bar(f"verifying {run}", len(CHECKS)) as advance:
            for passed in verify(workspace, registry, run):
                yield passed
                advance(1)
        if request.receipt is not None:
            yield check_receipt(registry, run, request.receipt, request.signed_by)
        yield from again


def _print(checks: Iterable[Checked]) -> None:
    for passed in checks:
        print_line(f"{passed.check}: {passed.found}")


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
