"""Time to switch a loaded model to another task's view, on an encoder with 22 M parameters.

    python benchmarks/switch_view.py
    python benchmarks/switch_view.py --device cuda --json

The model is a BERT of MiniLM-L6's size with random weights, and the stages hold random cells. A switch writes
cells, and its time does not depend on their values. Only `method.activate` is timed, which every view,
prediction and merge uses; no file is read and no forward pass runs. The first switch to each view unpacks
masks and generates A. Its time is shown separately and has no target.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import click
import torch
from transformers import BertConfig, BertModel

from lori_cl.lori_rules import cell_budget
from lori_cl.masks import STRATEGIES, Evidence, Ledger, allocate
from lori_cl.methods import METHODS, MaskedMethod, Method, StageState
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.runtime.environment import make_deterministic
from lori_cl.spec import CurriculumSpec

TARGET_S = 0.050
"""Target time in seconds for a switch on a CPU."""
SETTINGS = {
    "shared, stacked": {"projection": "shared", "composition": "stacked"},
    "per-task, stacked": {"projection": "per-task", "composition": "stacked"},
    "per-task, isolated": {"projection": "per-task", "composition": "isolated"},
}
"""Adapter settings. A switch writes other cells into one B, or also replaces A."""


def minilm() -> Any:
    """Return an encoder of the size of all-MiniLM-L6-v2."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, vocab_size=30522
    )
    return BertModel(config).eval().requires_grad_(False)


def loaded(adapter: dict[str, Any], rank: int, tasks: int, device: str) -> tuple[Method, int]:
    """Return a method with its adapter attached to a model, and the model's parameter count."""
    curriculum = CurriculumSpec.model_validate(
        {
            "name": "switch",
            "model": {"path": "random"},
            "tasks": [f"task{number}" for number in range(tasks)],
            "adapter": {"rank": rank, "alpha": 2 * rank, **adapter},
        }
    )
    base = minilm().to(device)
    parameters = sum(p.numel() for p in base.parameters())
    method = METHODS["lori"](curriculum)
    method.attach(base, seed=0)
    return method, parameters


def random_stages(method: Method, rank: int, density: float, tasks: int) -> list[StageState]:
    """Return finished stages with disjoint random cells."""
    assert isinstance(method, MaskedMethod), "lori has frozen projections A"
    projection = method.projection()
    ledger = Ledger({site: (out, rank) for site, (out, _) in projection.sites.items()})
    generator = torch.Generator().manual_seed(0)
    stages = []
    for number in range(tasks):
        scores = STRATEGIES["random"].score(Evidence(ledger.cells, seed=number))
        mask = allocate(ledger, f"task{number}", scores, cell_budget(density, ledger.cells))
        values = {s: torch.randn(n, generator=generator) for s, n in mask.count_by_site().items() if n}
        tensors = LoRIStage(mask, values).to_tensors()
        stages.append(StageState(f"task{number}", tensors, {"projection": number, "mask": number}))
        ledger = ledger.claim(f"task{number}", mask)
    return stages


def switch(method: Method, stages: Sequence[StageState], device: str) -> float:
    """Return the seconds of one switch."""
    began = time.perf_counter()
    method.activate(stages)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(method: Method, stages: Sequence[StageState], rounds: int, device: str) -> dict[str, Any]:
    """Time switches from the current view to each task's as_trained view and back."""
    trained = [method.as_trained(stages[: position + 1]) for position in range(len(stages))]
    first = [switch(method, view, device) for view in (*trained, stages)]
    to_task, to_current = [], []
    for turn in range(rounds):
        to_task.append(switch(method, trained[turn % len(trained)], device))
        to_current.append(switch(method, stages, device))
    return {
        "as_trained": statistics.median(to_task),
        "current": statistics.median(to_current),
        "slowest": max(*to_task, *to_current),
        "first visit": max(first),
    }


@click.command()
@click.option("--rank", default=32)
@click.option("--density", default=0.1)
@click.option("--tasks", default=5)
@click.option("--rounds", default=20, help="Number of switches in each direction; the medians count.")
@click.option("--device", default="cpu")
@click.option("--json", "as_json", is_flag=True)
def main(rank: int, density: float, tasks: int, rounds: int, device: str, as_json: bool) -> None:
    """Print the table, and fail if a switch takes longer than the target."""
    make_deterministic()  # as in every command
    found = {}
    for name, adapter in SETTINGS.items():
        method, parameters = loaded(adapter, rank, tasks, device)
        found[name] = measure(method, random_stages(method, rank, density, tasks), rounds, device)
    settings = {"parameters": parameters, "rank": rank, "density": density, "tasks": tasks, "device": device}
    settings |= {"rounds": rounds, "threads": torch.get_num_threads(), "torch": torch.__version__}
    if as_json:
        print(json.dumps({**settings, "seconds": found, "target_s": TARGET_S}, indent=2))
    else:
        size = f"{parameters / 1e6:.1f} M parameters, r = {rank}, density {density}, {tasks} tasks, {device}"
        print(f"{size}; milliseconds, median of {rounds}")
        print(f"{'switch to':20} as_trained  current    target  slowest  first visit")
        for name, row in found.items():
            ms = {key: 1000 * s for key, s in row.items()}
            print(
                f"{name:20}{ms['as_trained']:11.1f}{ms['current']:9.1f}   ≤ {1000 * TARGET_S:.1f}"
                f"{ms['slowest']:9.1f}{ms['first visit']:13.1f}"
            )
    missed = [n for n, row in found.items() if max(row["as_trained"], row["current"]) > TARGET_S]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
