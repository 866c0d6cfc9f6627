"""What a gradient before training knows of where training goes: scores of cells beside `magnitude` masks.

    LORI_CL_DATA=… python benchmarks/gradient_scores.py --set train.limit=320 --set train.max_length=64

Each of the five tasks is begun alone, and its cells are scored in every way: by gradients at B = 0, over a
part of the training examples or all, under the head as it was drawn and after an epoch of training the head
alone, and by |B| after short calibrations. The table has the part of the best tenth of the cells that a
whole calibration, LoRI's `magnitude`, chooses, too, in percent; chance gives 10. No test set is looked at.
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
from lori_cl.methods import StageContext, lori
from lori_cl.methods.lori_evidence import CALIBRATION_LR_FACTOR
from lori_cl.spec import TrainSpec, load_curriculum
from lori_cl.training import RunOptions, SilentObserver, learning, run_curriculum
from lori_cl.training.lesson import Lesson, losses
from lori_cl.training.stage import teach

PARTS = (0.05, 0.25, 1.0)
"""Of the training examples, that gradients are taken over; `gradient` masks take the first."""

CALIBRATIONS = (0.25, 0.5, 1.0)
"""Epochs."""

CHOSEN = 0.1
"""Part of all cells that a mask takes."""


class Scored(Exception):
    """The cells are scored, and the stage need not be trained."""


@dataclass
class Probe:
    """Scores a stage's cells in every way, where `magnitude` would have calibrated."""

    train: TrainSpec
    found: dict[str, Tensor] = field(default_factory=dict)
    """By the way, a score for every cell."""
    lesson: Lesson | None = None
    """What the stage is about to train."""

    def losses(self, lesson: Lesson, settings: TrainSpec, examples: int, seed: int) -> Iterator[Tensor]:
        """The stage's own losses; its lesson is noted."""
        self.lesson = lesson
        return losses(lesson, settings, examples, seed)

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
        """In the place of `gather_evidence`. Raises: Scored."""
        open_cells(free)
        self._gradients("head as drawn", context, adapter)
        open_cells(Mask({site: torch.zeros_like(cells) for site, cells in free.by_site.items()}))
        assert self.lesson is not None, "gradients were taken of its losses"
        teach(replace(self.lesson, epochs=1.0, checkpoints=None), self.train, SilentObserver())
        open_cells(free)
        self._gradients("head trained", context, adapter)
        for epochs in (*CALIBRATIONS, None):
            open_cells(free)
            context.calibrate(epochs, lr * CALIBRATION_LR_FACTOR)
            self.found[f"abs(B) after {epochs or 'all'} epochs"] = flat(adapter.opened()).abs()
        raise Scored

    def _gradients(self, head: str, context: StageContext, adapter: SparseAdapter) -> None:
        for part in PARTS:
            taken = []
            for loss in context.losses(max(1, round(part * context.n_train))):
                loss.backward()  # type: ignore[no-untyped-call]
                taken.append(flat(adapter.take_gradients()))
            gradients = torch.stack(taken)  # (batches, cells)
            summed = gradients.sum(0).abs()
            ways = {
                "Σ abs(g)": gradients.abs().sum(0),
                "abs(Σ g)": summed,
                "abs(Σ g) / √Σ g²": summed / gradients.square().sum(0).sqrt().clamp(min=1e-30),
            }
            self.found |= {f"{way}, {part:.0%}, {head}": score for way, score in ways.items()}


def flat(by_site: Mapping[str, Tensor]) -> Tensor:
    """One vector over all cells, every one of which is open."""
    return torch.cat([values.flatten() for values in by_site.values()])


def best(score: Tensor) -> Tensor:
    """The cells that a mask would take; (cells,) bits."""
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[score.topk(round(CHOSEN * score.numel())).indices] = True
    return chosen


def scores(task: str, settings: Sequence[str], dev: int) -> Mapping[str, Tensor]:
    """By the way, a score for every cell of a task that begins a run."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = workspace_of(Path(scratch), [task], dev)
        only = [f"tasks=[{task}]", "masks.strategy=magnitude", "eval.limit=8"]
        spec = load_curriculum(CURRICULUM, [*settings, *only])
        probe = Probe(spec.train)
        with (
            patch.object(lori, "gather_evidence", probe.gather),
            patch.object(learning, "losses", probe.losses),
        ):
            try:
                run_curriculum(workspace, spec, task, RunOptions(), SilentObserver())
            except Scored:
                return probe.found
    raise AssertionError("a stage of magnitude masks gathers evidence")


@click.command()
@click.option("--set", "settings", multiple=True, help="As of `lori-cl run`, for every task.")
@click.option("--dev", default=DEV, help="Rows of each train file that are not trained on.")
def main(settings: Sequence[str], dev: int) -> None:
    """Score every task's cells in every way, and print the table."""
    columns: dict[str, list[str]] = {}
    for task in ORDERS["five"]:
        found = {way: best(score) for way, score in scores(task, settings, dev).items()}
        magnitude = found.pop("abs(B) after all epochs")
        for way, chosen in found.items():
            same = 100 * float((chosen & magnitude).sum() / magnitude.sum())
            columns.setdefault(way, []).append(f"{same:.1f}")
    print(f"| score | {' | '.join(ORDERS['five'])} |\n|---|{'--:|' * len(ORDERS['five'])}")
    for way, column in columns.items():
        print(f"| {way} | {' | '.join(column)} |")


if __name__ == "__main__":
    main()
