"""Cost and benefit of the mask strategies `magnitude`, `gradient` and `random` on real texts.

    LORI_CL_DATA=… python benchmarks/mask_evidence.py --set train.limit=320 --set train.max_length=64

The five tasks are trained once per strategy, and scored on the last 256 rows of train. The table gives the
calibration time as a fraction of the training time (processor time, in one process), the metrics of both
views, and for each stage the percentage of its cells that the first row also chose.

`--calibration 1 --calibration 0.25` compares lengths of the calibration of `magnitude` instead, as fractions
of the stage's epochs.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from texts import CURRICULUM, DEV, ORDERS, metrics, run_name, workspace_of
from torch import Tensor

from lori_cl.evaluation.stage_file import read_stage
from lori_cl.methods.lori import method as lori
from lori_cl.methods.lori.evidence import gather_evidence
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum, stage_training
from lori_cl.training.trainer import run_job

STRATEGIES = ("magnitude", "gradient", "random")


class Stopwatch:
    """Sum the processor time of functions by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is added to `what`."""

        def call(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[what] += time.process_time() - began

        return call


def learned_cells(workspace: Workspace, run: str) -> Iterator[Tensor]:
    """Yield the cells that each stage of a run claimed; (cells,) bool."""
    with workspace.read() as registry:
        stages = registry.run(run).stages
    for stage in stages:
        tensors, _ = read_stage(workspace.artifacts.get(stage.artifact, "safetensors"))
        packed = torch.cat([tensors[name].flatten() for name in sorted(tensors) if name.startswith("mask/")])
        yield (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1).flatten().bool()


def common(masks: Sequence[Tensor], others: Sequence[Tensor]) -> str:
    """Return for each stage the percentage of a mask's cells that the other mask also has."""
    return ", ".join(
        f"{100 * int((a & b).sum()) / int(a.sum()):.1f}" for a, b in zip(masks, others, strict=True)
    )


def arms(calibrations: Sequence[float]) -> dict[str, list[str]]:
    """Return the settings of every run, by its title in the table."""
    if not calibrations:
        whole = {"magnitude": ["masks.calibration.fraction=1"]}
        return {name: [f"masks.strategy={name}", *whole.get(name, [])] for name in STRATEGIES}
    return {
        f"magnitude, {fraction:.0%}": [
            "masks.strategy=magnitude",
            f"masks.calibration.fraction={fraction}",
        ]
        for fraction in calibrations
    }


def row(workspace: Workspace, title: str, seconds: dict[str, float], against: Sequence[Tensor]) -> str:
    """Return the table row of a run."""
    views = metrics(workspace, run_name(title))
    cells = [f"{100 * seconds['evidence'] / seconds['training']:.1f} %"]
    for view in ("as_trained", "current"):
        cells += [f"{100 * views[view][name]:.1f}" for name in ("acc", "bwt")]
    cells.append(common(list(learned_cells(workspace, run_name(title))), against))
    return f"| {title} | {' | '.join(cells)} |"


@click.command()
@click.option("--set", "settings", multiple=True, help="Override a config value of every strategy.")
@click.option("--dev", default=DEV, help="Rows of each train file to score on; 0 scores the test sets.")
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
    type=click.FloatRange(0, min_open=True),
    help="Compare calibrations of `magnitude` of this length, as a fraction of the stage's epochs.",
)
def main(settings: Sequence[str], dev: int, calibrations: Sequence[float]) -> None:
    """Train the five tasks with every strategy, and print the table."""
    compared = arms(calibrations)
    first, *_ = compared
    with tempfile.TemporaryDirectory() as scratch:
        workspace = workspace_of(Path(scratch), ORDERS["five"], dev)
        print(
            f"| masks | calibration | `as_trained` acc | bwt | `current` acc | bwt | chosen by {first}, % |"
        )
        print("|---|--:|--:|--:|--:|--:|---|")
        for title, chosen in compared.items():
            watch = Stopwatch()
            spec = load_curriculum(CURRICULUM, [*settings, *chosen])
            with (
                patch.object(lori, "gather_evidence", watch.timed("evidence", gather_evidence)),
                patch.object(stage_training, "run_job", watch.timed("training and calibration", run_job)),
            ):
                run_curriculum(workspace, spec, run_name(title), RunOptions(), SilentProgress())
            # The calibration of `magnitude` is also inside `run_job`.
            calibrated = watch.seconds["evidence"] if spec.masks.strategy == "magnitude" else 0.0
            watch.seconds["training"] = watch.seconds["training and calibration"] - calibrated
            against = list(learned_cells(workspace, run_name(first)))
            print(row(workspace, title, watch.seconds, against), flush=True)


if __name__ == "__main__":
    main()
