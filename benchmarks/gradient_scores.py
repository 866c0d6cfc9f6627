"""How well gradients before training predict trained cells: cell scores compared with `magnitude` masks.

    LORI_CL_DATA=… python benchmarks/gradient_scores.py --set train.limit=320 --set train.max_length=64

Each of the five tasks is started separately, and its cells are scored with every method: gradients at B = 0
over some or all training examples, with the initial head and after training only the head for an epoch, and
|B| after short calibrations. The table gives the percentage of the best tenth of the cells that a full
calibration, LoRI's `magnitude`, also chooses; chance gives 10. No test set is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from texts import CURRICULUM, DEV, ORDERS, workspace_of
from torch import Tensor

from lori_cl.adapters import SparseAdapter
from lori_cl.masks import Mask
from lori_cl.methods import StageContext
from lori_cl.methods.lori import method as lori
from lori_cl.methods.lori.evidence import CALIBRATION_LR_FACTOR
from lori_cl.runtime import SilentProgress
from lori_cl.spec import TrainSpec, load_curriculum
from lori_cl.training import RunOptions, run_curriculum, stage_training
from lori_cl.training.trainer import run_job
from lori_cl.training.training_job import TrainingJob, losses

PARTS = (0.05, 0.25, 1.0)
"""Fractions of the training examples for the gradients; `gradient` masks use the first."""

CALIBRATIONS = (0.25, 0.5, 1.0)
"""Epochs."""

CHOSEN = 0.1
"""Fraction of all cells in a mask."""


class Scored(Exception):
    """The cells are scored; the stage does not need to be trained."""


@dataclass
class Probe:
    """Score a stage's cells with every method, in place of the `magnitude` calibration."""

    train: TrainSpec
    found: dict[str, Tensor] = field(default_factory=dict)
    """Method → one score per cell."""
    job: TrainingJob | None = None
    """The stage's training job."""

    def losses(self, job: TrainingJob, settings: TrainSpec, examples: int, seed: int) -> Iterator[Tensor]:
        """Return the stage's losses, and record its training job."""
        self.job = job
        return losses(job, settings, examples, seed)

    def gather(
        self,
        _strategy: Any,
        context: StageContext,
        adapter: SparseAdapter,
        free: Mask,
        open_cells: Callable[[Mask], None],
        _settings: Any,
        lr: float,
    ) -> None:
        """Replace `gather_evidence`. Raises: Scored."""
        open_cells(free)
        self._gradients("head as drawn", context, adapter)
        open_cells(Mask({site: torch.zeros_like(cells) for site, cells in free.by_site.items()}))
        assert self.job is not None, "the gradients were computed from its losses"
        run_job(replace(self.job, epochs=1.0, checkpoints=None), self.train, SilentProgress())
        open_cells(free)
        self._gradients("head trained", context, adapter)
        for epochs in (*CALIBRATIONS, None):
            open_cells(free)
            context.calibrate(epochs, lr * CALIBRATION_LR_FACTOR)
            self.found[f"abs(B) after {epochs or 'all'} epochs"] = flat(adapter.opened()).abs()
        raise Scored

    def _gradients(self, head: str, context: StageContext, adapter: SparseAdapter) -> None:
        for part in PARTS:
            batches = []
            for loss in context.losses(max(1, round(part * context.n_train))):
                loss.backward()  # type: ignore[no-untyped-call]
                batches.append(flat(adapter.take_gradients()))
            gradients = torch.stack(batches)  # (batches, cells)
            summed = gradients.sum(0).abs()
            methods = {
                "Σ abs(g)": gradients.abs().sum(0),
                "abs(Σ g)": summed,
                "abs(Σ g) / √Σ g²": summed / gradients.square().sum(0).sqrt().clamp(min=1e-30),
            }
            self.found |= {f"{method}, {part:.0%}, {head}": score for method, score in methods.items()}


def flat(by_site: Mapping[str, Tensor]) -> Tensor:
    """Return one vector over all cells. All cells are open."""
    return torch.cat([values.flatten() for values in by_site.values()])


def best(score: Tensor) -> Tensor:
    """Return the cells that a mask would select; (cells,) bool."""
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[score.topk(round(CHOSEN * score.numel())).indices] = True
    return chosen


def scores(task: str, settings: Sequence[str], dev: int) -> Mapping[str, Tensor]:
    """Return, by method, one score per cell of a task that is first in a run."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = workspace_of(Path(scratch), [task], dev)
        only = [f"tasks=[{task}]", "masks.strategy=magnitude", "eval.limit=8"]
        spec = load_curriculum(CURRICULUM, [*settings, *only])
        probe = Probe(spec.train)
        with (
            patch.object(lori, "gather_evidence", probe.gather),
            patch.object(stage_training, "losses", probe.losses),
        ):
            try:
                run_curriculum(workspace, spec, task, RunOptions(), SilentProgress())
            except Scored:
                return probe.found
    raise AssertionError("a stage of magnitude masks gathers evidence")


@click.command()
@click.option("--set", "settings", multiple=True, help="Override a config value of every task.")
@click.option("--dev", default=DEV, help="Rows of each train file that are excluded from training.")
def main(settings: Sequence[str], dev: int) -> None:
    """Score every task's cells with every method, and print the table."""
    columns: dict[str, list[str]] = {}
    for task in ORDERS["five"]:
        found = {method: best(score) for method, score in scores(task, settings, dev).items()}
        magnitude = found.pop("abs(B) after all epochs")
        for method, chosen in found.items():
            shared = 100 * float((chosen & magnitude).sum() / magnitude.sum())
            columns.setdefault(method, []).append(f"{shared:.1f}")
    print(f"| score | {' | '.join(ORDERS['five'])} |\n|---|{'--:|' * len(ORDERS['five'])}")
    for method, column in columns.items():
        print(f"| {method} | {' | '.join(column)} |")


if __name__ == "__main__":
    main()
