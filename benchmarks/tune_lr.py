"""Tune the learning rate of a method on a split of train; the test sets are never used.

    LORI_CL_DATA=… python benchmarks/tune_lr.py --method sequential-lora --lr 2e-4 --lr 5e-4 --lr 1e-3

The last `--dev` rows of every task's train file become its eval set; the other rows are used for training.
The curriculum runs once per learning rate. The default in `lori_cl/methods/` is the rate with the best final
average in the view that the method is meant for.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
from texts import CURRICULUM, DEV, metrics, workspace_of

from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum


@click.command()
@click.option("--curriculum", type=Path, default=CURRICULUM)
@click.option("--method", default="sequential-lora")
@click.option("--lr", "rates", type=float, multiple=True, required=True)
@click.option("--dev", default=DEV, help="Rows of each train file to score on.")
@click.option("--set", "settings", multiple=True, help="Override a config value, as in `lori-cl run`.")
def main(
    curriculum: Path, method: str, rates: tuple[float, ...], dev: int, settings: tuple[str, ...]
) -> None:
    """Print the final average, backward transfer and learning accuracy for every rate and view."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = workspace_of(Path(scratch), load_curriculum(curriculum, settings).tasks, dev)
        for lr in rates:
            spec = load_curriculum(curriculum, [*settings, f"method={method}", f"train.lr={lr}"])
            run_curriculum(workspace, spec, f"lr-{lr:g}", RunOptions(), SilentProgress())
            for view, found in metrics(workspace, f"lr-{lr:g}").items():
                tried = {"method": method, "lr": lr, "settings": settings, "view": view}
                print(json.dumps({**tried, **found}), flush=True)


if __name__ == "__main__":
    main()
