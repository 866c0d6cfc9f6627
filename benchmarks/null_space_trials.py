"""Experiments with null-space A that are not options: shrunk directions, excluded sites, larger A.

    LORI_CL_DATA=… python benchmarks/null_space_trials.py --workspace DIR --soft 0.3
    LORI_CL_DATA=… python benchmarks/null_space_trials.py --workspace DIR --free 'attention'
    LORI_CL_DATA=… python benchmarks/null_space_trials.py --workspace DIR --gain 3

`--soft 0.3` keeps three tenths of a new A's component in the directions of earlier inputs; 0 is the standard
`null-space`. `--free` is a regular expression of the sites whose A is not projected. `--gain 3` makes every
projected A three times as large, because it reads less of an input. The run trains five tasks and scores on
the last 256 rows of train in the view `current`. A second call resumes an interrupted run.
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
from lori_cl.methods.lori import method as lori
from lori_cl.methods.lori.projections import Projector, Protected
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum


def softened(drawn: Tensor, projected: Tensor, left: float) -> Tensor:
    """Scale the component of A in the protected directions by `left`, and keep the row norms; (r, d_in)."""
    outward = torch.nn.functional.normalize(projected.double(), dim=1)
    a = drawn.double()
    outside = (a * outward).sum(1, keepdim=True) * outward
    mixed = outside + left * (a - outside)
    rescaled: Tensor = mixed * a.norm(dim=1, keepdim=True) / mixed.norm(dim=1, keepdim=True)
    return rescaled.float()


def trial(soft: float, free: re.Pattern[str], gain: float) -> type[Projector]:
    """Return a projector class with weaker projection, or with larger projected A."""

    class Trial(Projector):
        def new_projections(
            self,
            task: str,
            stages: Sequence[LoRIStage],
            protected: Protected,
            seed: int,
            rank: int,
        ) -> Projections:
            made = super().new_projections(task, stages, protected, seed, rank)
            if not protected:
                return made
            drawn = self._draw(seed, rank)
            return {
                site: drawn[site] if free.search(site) else gain * softened(drawn[site], a, soft)
                for site, a in made.items()
            }

    return Trial


@click.command()
@click.option("--workspace", "root", type=Path, required=True, help="Created if it does not exist.")
@click.option("--soft", default=0.0, help="Fraction of A kept in the directions of earlier tasks, 0 to 1.")
@click.option("--free", default="(?!)", help="Regular expression of the sites whose A is not projected.")
@click.option("--gain", default=1.0, help="Factor of every projected A.")
@click.option("--dev", default=DEV, help="Rows of each train file to score on.")
@click.option("--set", "settings", multiple=True, help="Override a config value, as in `lori-cl run`.")
def main(root: Path, soft: float, free: str, gain: float, dev: int, settings: Sequence[str]) -> None:
    """Run one trial and print its settings and metrics."""
    workspace = workspace_of(root, ORDERS["five"], dev)
    chosen = ["adapter.projection=null-space", "eval.views=[current]", *settings]
    run = run_name(f"soft-{soft}-free-{free}-gain-{gain}", *settings)
    with patch.object(lori, "Projector", trial(soft, re.compile(free), gain)):
        run_curriculum(workspace, load_curriculum(CURRICULUM, chosen), run, RunOptions(), SilentProgress())
    tried = {"soft": soft, "free": free, "gain": gain, "settings": settings}
    print(json.dumps({**tried, **figures(workspace, run)}))


if __name__ == "__main__":
    main()
