"""Forgetting without a task id, by projection kind and mask strategy: orders × arms × seeds, real texts.

    LORI_CL_DATA=… python benchmarks/forgetting.py --workspace DIR --order ten-a --seed 0 --seed 1 --seed 2

Every arm is one run per seed in the workspace, scored only in the view `current`. A second call resumes
interrupted runs. `--only` lets several processes share a workspace. The table at the end gives the mean over
the seeds, and the smallest and largest value. `--dev 256` scores on the last rows of train, so that learning
rates and defaults are chosen without the test sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import click
from texts import CURRICULUM, METRICS, ORDERS, figures, run_name, workspace_of

from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum

RANDOM = "masks.strategy=random"
ARMS = {
    "shared, magnitude": ["adapter.projection=shared", "masks.strategy=magnitude"],
    "shared, random": ["adapter.projection=shared", RANDOM],
    "per-task, random": ["adapter.projection=per-task", RANDOM],
    "orthogonal, random": ["adapter.projection=orthogonal", RANDOM],
    "null-space, random": ["adapter.projection=null-space", RANDOM],
    "null-space, gradient": ["adapter.projection=null-space", "masks.strategy=gradient"],
    "null-space, magnitude": ["adapter.projection=null-space", "masks.strategy=magnitude"],
    "sequential-lora": ["method=sequential-lora"],
}


def table(found: dict[tuple[str, int], dict[str, float]]) -> Iterator[str]:
    """Yield one line per arm: mean (smallest to largest) of every metric over its seeds."""
    yield "| arm | seeds | final average | backward transfer | learning accuracy |"
    yield "|---|--:|--:|--:|--:|"
    for arm in dict.fromkeys(arm for arm, _ in found):
        runs = [metrics for (other, _), metrics in found.items() if other == arm]
        columns = [[run[name] for run in runs] for name in METRICS]
        cells = [f"{sum(c) / len(c):.1f} ({min(c):.1f} to {max(c):.1f})" for c in columns]
        yield f"| {arm} | {len(runs)} | {' | '.join(cells)} |"


@click.command()
@click.option("--workspace", "root", type=Path, required=True, help="Created if it does not exist.")
@click.option("--order", type=click.Choice(list(ORDERS)), required=True)
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,))
@click.option("--only", "arms", type=click.Choice(list(ARMS)), multiple=True, help="Run only these arms.")
@click.option("--dev", default=0, help="Rows of each train file to score on, instead of the test set.")
@click.option("--set", "settings", multiple=True, help="Override a config value of every arm.")
def main(
    root: Path, order: str, seeds: Sequence[int], arms: Sequence[str], dev: int, settings: Sequence[str]
) -> None:
    """Run the missing runs, seed by seed; print one line per run, then the table."""
    workspace = workspace_of(root, ORDERS[order], dev)
    chosen = [f"tasks={json.dumps(ORDERS[order])}", "eval.views=[current]"]
    found = {}
    for seed, arm in product(seeds, arms or ARMS):
        run = run_name(order, arm, f"s{seed}", *settings)
        spec = load_curriculum(CURRICULUM, [*chosen, *ARMS[arm], f"seed={seed}", *settings])
        run_curriculum(workspace, spec, run, RunOptions(), SilentProgress())
        found[arm, seed] = figures(workspace, run)
        print(json.dumps({"run": run, **found[arm, seed]}), flush=True)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
