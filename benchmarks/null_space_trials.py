"""Trials of null-space A's that are no option: directions shrunk instead of cut, sites left out, larger A's.

    LORI_CL_DATA=… python benchmarks/null_space_trials.py --workspace DIR --soft 0.3
    LORI_CL_DATA=… python benchmarks/null_space_trials.py --workspace DIR --free 'attention'
    LORI_CL_DATA=… python benchmarks/null_space_trials.py --workspace DIR --gain 3

`--soft 0.3` leaves three tenths of what a fresh A has in the directions of earlier inputs; 0 is `null-space`
as it is. `--free` names, by a regular expression, the sites whose A's stay as they were drawn. `--gain 3`
makes A's that are blind to something three times as large, since they read less of an input. Five tasks,
scored on the last 256 rows of train in the view `current`; called again, a run goes on where it was stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import click
import torch
from texts import CURRICULUM, DEV, ORDERS, figures, run_name, workspace_of
from torch import Tensor

from lori_cl.adapters import Projections
from lori_cl.methods import lori
from lori_cl.methods.lori_projections import Projector
from lori_cl.methods.lori_stage import LoRIStage
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, SilentObserver, run_curriculum


def softened(drawn: Tensor, blind: Tensor, left: float) -> Tensor:
    """The drawn A with `left` of its part in the protected directions, rows of their old norm; (r, d_in)."""
    outward = torch.nn.functional.normalize(blind.double(), dim=1)
    a = drawn.double()
    outside = (a * outward).sum(1, keepdim=True) * outward
    mixed = outside + left * (a - outside)
    rescaled: Tensor = mixed * a.norm(dim=1, keepdim=True) / mixed.norm(dim=1, keepdim=True)
    return rescaled.float()


def trial(soft: float, free: re.Pattern[str], gain: float) -> type[Projector]:
    """A projector that keeps its A's less blind, or makes blind ones larger."""

    class Trial(Projector):
        def fresh(
            self,
            task: str,
            stages: Sequence[LoRIStage],
            feeding: Sequence[LoRIStage],
            seed: int,
            rank: int,
        ) -> Projections:
            made = super().fresh(task, stages, feeding, seed, rank)
            if not feeding:
                return made
            drawn = self._draw(seed, rank)
            return {
                site: drawn[site] if free.search(site) else gain * softened(drawn[site], a, soft)
                for site, a in made.items()
            }

    return Trial


@click.command()
@click.option("--workspace", "root", type=Path, required=True, help="Made if it is not there.")
@click.option("--soft", default=0.0, help="Left of what A has in earlier tasks' directions, 0 to 1.")
@click.option("--free", default="(?!)", help="Sites whose A's are not kept out of them.")
@click.option("--gain", default=1.0, help="How much larger A's are that are blind to something.")
@click.option("--dev", default=DEV, help="Rows of each train file to score on.")
@click.option("--set", "settings", multiple=True, help="As of `lori-cl run`.")
def main(root: Path, soft: float, free: str, gain: float, dev: int, settings: Sequence[str]) -> None:
    """Run one trial and print its metrics, and how many directions each task took of a site."""
    workspace = workspace_of(root, ORDERS["five"], dev)
    chosen = ["adapter.projection=null-space", "eval.views=[current]", *settings]
    run = run_name(f"soft-{soft}-free-{free}-gain-{gain}", *settings)
    with patch.object(lori, "Projector", trial(soft, re.compile(free), gain)):
        run_curriculum(workspace, load_curriculum(CURRICULUM, chosen), run, RunOptions(), SilentObserver())
    tried = {"soft": soft, "free": free, "gain": gain, "settings": settings}
    print(json.dumps({**tried, **figures(workspace, run)}))


if __name__ == "__main__":
    main()
