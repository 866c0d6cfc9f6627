"""Time to allocate a task's cells, on Llama-3-8B shapes.

    python benchmarks/allocation.py
    python benchmarks/allocation.py --claims 0 --json

At r = 32 all seven linears of the 32 layers have 44,040,192 cells, of which one task takes a tenth. Only
`allocate` is timed, with scores computed before: float32 scores as from `magnitude` and `gradient`, float64
scores as from `random`, and equal scores, where every choice is a tie.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from typing import Any

import click
import torch
from torch import Tensor

from lori_cl.lori_rules import cell_budget
from lori_cl.masks import GRANULARITIES, STRATEGIES, Evidence, Ledger, allocate

TARGET_S = 2.0
"""Target time in seconds for each granularity and kind of score."""
HIDDEN, INTERMEDIATE, KEYS, LAYERS = 4096, 14336, 1024, 32
OUT_FEATURES = {
    **{"self_attn.q_proj": HIDDEN, "self_attn.k_proj": KEYS, "self_attn.v_proj": KEYS},
    **{"self_attn.o_proj": HIDDEN, "mlp.gate_proj": INTERMEDIATE, "mlp.up_proj": INTERMEDIATE},
    **{"mlp.down_proj": HIDDEN},
}
"""Output features of the linears in one layer of Llama-3-8B."""


def llama_ledger(rank: int, claims: int, density: float) -> Ledger:
    """Return a ledger of its 224 sites, with `claims` earlier tasks that hold cells."""
    shapes = {
        f"model.layers.{layer}.{name}": (out, rank)
        for layer in range(LAYERS)
        for name, out in OUT_FEATURES.items()
    }
    ledger = Ledger(shapes)
    k = cell_budget(density, ledger.cells)
    for number in range(claims):
        mask = allocate(ledger, f"task{number}", uniform_scores(ledger.cells, seed=number), k)
        ledger = ledger.claim(f"task{number}", mask)
    return ledger


def uniform_scores(cells: int, seed: int) -> Tensor:
    """Return one float32 score per cell; there are only 2^24 values, so some scores are tied."""
    return torch.rand(cells, generator=torch.Generator().manual_seed(seed))


def kinds_of_scores(cells: int) -> Mapping[str, Tensor]:
    """Return scores as from the strategies, and the worst case for ties."""
    calibrated_b = torch.randn(cells, generator=torch.Generator().manual_seed(99))
    return {
        "magnitude": STRATEGIES["magnitude"].score(Evidence(cells, 0, calibrated_b)),
        "random": STRATEGIES["random"].score(Evidence(cells, 0)),
        "all equal": torch.zeros(cells),
    }


def seconds(ledger: Ledger, scores: Tensor, k: int, granularity: str, rounds: int) -> float:
    """Return the median time of `rounds` allocations."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        mask = allocate(ledger, "task", scores, k, granularity)
        times.append(time.perf_counter() - began)
    assert mask.count() == k, "a mask has exactly k cells"
    return statistics.median(times)


@click.command()
@click.option("--rank", default=32)
@click.option("--density", default=0.1)
@click.option("--claims", default=3, help="Number of earlier tasks that hold cells.")
@click.option("--rounds", default=3, help="Number of allocations; the median counts.")
@click.option("--json", "as_json", is_flag=True)
def main(rank: int, density: float, claims: int, rounds: int, as_json: bool) -> None:
    """Print the table, and fail if an allocation takes longer than the target."""
    ledger = llama_ledger(rank, claims, density)
    k = cell_budget(density, ledger.cells)
    kinds = kinds_of_scores(ledger.cells)
    found = {
        granularity: {kind: seconds(ledger, scores, k, granularity, rounds) for kind, scores in kinds.items()}
        for granularity in GRANULARITIES
    }
    settings: dict[str, Any] = {"sites": len(ledger.shapes), "cells": ledger.cells, "k": k, "claims": claims}
    settings |= {"rounds": rounds, "threads": torch.get_num_threads(), "torch": torch.__version__}
    if as_json:
        print(json.dumps({**settings, "seconds": found, "target_s": TARGET_S}, indent=2))
    else:
        print(f"{k:,} of {ledger.cells:,} cells, {len(ledger.shapes)} sites, {claims} earlier tasks; seconds")
        print(f"{'granularity':12}" + "".join(f"{kind:>11}" for kind in kinds) + f"{'target':>10}")
        for granularity, row in found.items():
            print(f"{granularity:12}" + "".join(f"{s:11.2f}" for s in row.values()) + f"   ≤ {TARGET_S:.1f}")
    missed = [
        f"{granularity}, {kind}"
        for granularity, row in found.items()
        for kind, elapsed_s in row.items()
        if elapsed_s > TARGET_S
    ]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
