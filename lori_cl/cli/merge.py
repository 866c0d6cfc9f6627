"""The command `lori-cl merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from lori_cl.api.workspace import Workspace
from lori_cl.cli.implementation_name import ImplementationName
from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.cli.paths import UserPath
from lori_cl.cli.permissions import permission_options
from lori_cl.cli.workspace import pass_workspace

METHOD_NAMES = ("cat", "sum", "average", "magnitude", "dare", "ties", "dare-ties", "linear-of-factors")
"""The built-in names in `lori_cl.adapters.MERGES`, repeated here so that --help needs no import."""


def _numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"'{value}' is not a list of numbers separated by commas, such as 0.4,0.4"
        ) from None


@click.command()
@click.argument("run")
@click.option(
    "--tasks",
    required=True,
    metavar="A,B,OTHER_RUN:C",
    help="The tasks to merge, of RUN or (as OTHER_RUN:TASK) of another run.",
)
@click.option(
    "--method",
    type=ImplementationName("lori_cl.merge_methods", METHOD_NAMES),
    default="cat",
    show_default=True,
    help="The merge method.",
)
@click.option("--weights", callback=_numbers, metavar="W,W,…", help="One weight per task (default: 1 each).")
@click.option(
    "--on",
    type=click.Choice(["b", "delta"]),
    help="What to prune: the matrices B (default) or the updates ΔW.",
)
@click.option(
    "--density",
    type=float,
    help="Fraction of each adapter's non-zero entries to keep; required by magnitude, dare, ties, dare-ties.",
)
@click.option(
    "--rank", type=int, help="With --on delta: truncate to this rank (default: the sum of the ranks)."
)
@click.option("--seed", type=int, help="Random seed of dare and dare-ties (default: 0).")
@click.option("--out", required=True, type=UserPath(), help="The PEFT folder to write.")
@click.option("--evaluate", is_flag=True, help="Score the merged adapter on each of its tasks.")
@permission_options
@json_option
@pass_workspace
def merge(
    workspace: Workspace,
    run: str,
    tasks: str,
    method: str,
    weights: tuple[float, ...] | None,
    on: Literal["b", "delta"] | None,
    density: float | None,
    rank: int | None,
    seed: int | None,
    out: Path,
    evaluate: bool,
    allow_code_execution: bool,
    trust_tasks: bool,
    as_json: bool,
) -> None:
    """Merge tasks of RUN, and of other runs on the same base model, into one PEFT adapter.

    cat and sum compute the exact weighted sum of the updates ΔW; average divides the weights by their sum.
    magnitude, dare, ties and dare-ties prune with --density, either B or ΔW. linear-of-factors is PEFT's
    'linear': it adds the A and the B matrices separately, which is not the sum of the updates.

    A task contributes the cells trained in its own stage. Tasks of a run with adapter.composition: isolated,
    as in the LoRI paper, were trained independently of each other; tasks of a stacked run were not.

    \b
    Example:
      lori-cl merge first --tasks sst2,agnews --method cat --weights 0.4,0.4 --out merged --evaluate
    """
    from lori_cl.serving.merge_table import merge_outcome_record, print_merge  # imports torch

    with bars() as progress:
        outcome = workspace.merge(
            run,
            [task.strip() for task in tasks.split(",")],
            out,
            method=method,
            weights=weights,
            on=on,
            density=density,
            rank=rank,
            seed=seed,
            evaluate=evaluate,
            allow_code_execution=allow_code_execution,
            trust_tasks=trust_tasks,
            progress=progress,
        )
    print_json(merge_outcome_record(outcome)) if as_json else print_merge(outcome, console())
