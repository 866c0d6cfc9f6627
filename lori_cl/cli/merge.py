"""`lori-cl merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from lori_cl.cli.output import bars, console, json_option, print_json
from lori_cl.cli.paths import UserPath
from lori_cl.registry.workspace import Workspace

METHOD_NAMES = "cat, sum, average, magnitude, dare, ties, dare-ties, linear-of-factors"
"""Those of `lori_cl.adapters.MERGES`, named here so that --help imports nothing."""


def _numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"'{value}' should be numbers with commas between them, such as 0.4,0.4"
        ) from None


@click.command()
@click.argument("run")
@click.option("--tasks", required=True, metavar="A,B,OTHER_RUN:C", help="Of RUN, or of another run.")
@click.option("--method", default="cat", show_default=True, metavar="NAME", help=f"One of {METHOD_NAMES}.")
@click.option("--weights", callback=_numbers, metavar="W,W,…", help="One a task; 1 each where not given.")
@click.option(
    "--on", type=click.Choice(["b", "delta"]), help="What is pruned: the B's (default) or the ΔW's."
)
@click.option(
    "--density",
    type=float,
    help="Needed by magnitude, dare, ties and dare-ties: fraction of each adapter's non-zero entries kept.",
)
@click.option(
    "--rank", type=int, help="With --on delta: cut to this rank; the sum of the ranks if not given."
)
@click.option("--seed", type=int, help="Of what dare and dare-ties drop; 0 if not given.")
@click.option("--out", required=True, type=UserPath(), help="The PEFT folder to make.")
@click.option("--evaluate", is_flag=True, help="Score what was written on every task in it.")
@click.option(
    "--allow-code-execution", is_flag=True, help="Run what the model writes, contained, to score code tasks."
)
@json_option
@click.pass_obj
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
    as_json: bool,
) -> None:
    """Merge tasks that RUN and other runs on the same base model learned into one PEFT adapter.

    cat and sum give the weighted sum of the ΔW's exactly; average divides the weights by their sum.
    magnitude, dare, ties and dare-ties prune with --density, on the B's or on the ΔW's. linear-of-factors is
    PEFT's 'linear', which adds A's and B's apart: not a sum of the updates.

    Each task counts with the cells that its own stage trained. Tasks of a run with adapter.composition:
    isolated, as in the paper, were trained to stand alone; those of a stacked run were not.

    \b
    Example:
      lori-cl merge first --tasks sst2,agnews --method cat --weights 0.4,0.4 --out merged --evaluate
    """
    from lori_cl.adapters import MergeSettings  # torch comes with it
    from lori_cl.serving.merge import merge_tasks
    from lori_cl.serving.merge_request import MergeRequest
    from lori_cl.serving.merge_table import merge_outcome_record, print_merge

    request = MergeRequest(
        run=run,
        tasks=[task.strip() for task in tasks.split(",")],
        method=method,
        out=out,
        weights=weights,
        settings=MergeSettings(on=on, density=density, rank=rank, seed=seed),
        evaluate=evaluate,
        allow_code_execution=allow_code_execution,
    )
    with bars() as observer:
        outcome = merge_tasks(workspace, request, observer)
    print_json(merge_outcome_record(outcome)) if as_json else print_merge(outcome, console())
