"""Cost of a training step, compared with PEFT's LoRA of the same rank and targets.

    python benchmarks/step_cost.py
    python benchmarks/step_cost.py --shape llama-3-8b --json     # real sizes, random weights; needs a GPU

Both models run in one process and take steps alternately, so that drifts in machine speed affect both. The
figure to quote is the median of the ratios of step pairs.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lori_cl.adapters import attach, lora_model, site_shapes
from lori_cl.lori_rules import cell_budget
from lori_cl.masks import STRATEGIES, Evidence, Ledger, allocate
from lori_cl.spec import AdapterSpec

TARGETS = {"step time": 0.95, "saved for backward": 0.78, "gradient + Adam": 0.06}
"""Target ratios; lower is better."""


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model and its batch."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int
    batch: int
    length: int
    dtype: torch.dtype


SHAPES = {
    "small": Shape(512, 4, 1792, 8, 2, 1024, 8, 256, torch.float32),
    "llama-3-8b": Shape(4096, 32, 14336, 32, 8, 128256, 4, 512, torch.bfloat16),
}


@dataclass
class Contender:
    """A model with an adapter and the optimizer of its trainable parameters."""

    model: Any
    optimizer: torch.optim.Optimizer

    def step(self, ids: torch.Tensor) -> None:
        """Run forward, backward and the optimizer step."""
        self.model(input_ids=ids, labels=ids).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def build(shape: Shape, rank: int, density: float | None, device: str) -> Contender:
    """Build PEFT's LoRA if density is None, else the sparse adapter with random masks."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocab,
        use_cache=False,
    )
    with torch.device(device):
        base = LlamaForCausalLM(config).to(shape.dtype)
    model = lora_model(base, AdapterSpec(rank=rank, alpha=2.0 * rank))
    if density is not None:
        adapter = attach(model, seed=0, distribution="uniform")
        ledger = Ledger(site_shapes(adapter.sites))
        scores = STRATEGIES["random"].score(Evidence(ledger.cells, seed=0))
        adapter.open(allocate(ledger, "task", scores, cell_budget(density, ledger.cells)).by_site)
    trainable = [p for p in model.parameters() if p.requires_grad]
    return Contender(model.train(), torch.optim.AdamW(trainable, lr=1e-4, weight_decay=0.0))


def saved_bytes(contender: Contender, ids: torch.Tensor) -> int:
    """Return the bytes that autograd saves for backward: each storage once, without weights and buffers."""
    model = contender.model
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    contender.optimizer.zero_grad(set_to_none=True)
    return sum(saved.values())


def optimizer_bytes(contender: Contender, ids: torch.Tensor) -> int:
    """Return the bytes of the gradients and of Adam's two moments, after one step."""
    contender.model(input_ids=ids, labels=ids).loss.backward()
    contender.optimizer.step()
    parameters = [p for group in contender.optimizer.param_groups for p in group["params"]]
    gradients: int = sum(p.grad.nbytes for p in parameters)
    moments: int = sum(
        state[key].nbytes for state in contender.optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")
    )
    contender.optimizer.zero_grad(set_to_none=True)
    return gradients + moments


def timed(work: Callable[[], None], device: str) -> float:
    """Return the seconds of one call, with the device synchronised before and after."""
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def compare(shape: Shape, rank: int, density: float, rounds: int, device: str) -> dict[str, Any]:
    """Measure all figures of both contenders."""
    ids = torch.randint(0, shape.vocab, (shape.batch, shape.length), device=device)
    ours, peft = build(shape, rank, density, device), build(shape, rank, None, device)
    figures: dict[str, Any] = {
        "saved for backward": [saved_bytes(ours, ids), saved_bytes(peft, ids)],
        "gradient + Adam": [optimizer_bytes(ours, ids), optimizer_bytes(peft, ids)],
    }
    seconds: list[tuple[float, float]] = []
    for turn in range(rounds + 2):  # the first two warm up
        pair = dict.fromkeys(("ours", "peft"), 0.0)
        order = (("ours", ours), ("peft", peft)) if turn % 2 else (("peft", peft), ("ours", ours))
        for who, contender in order:
            pair[who] = timed(lambda c=contender: c.step(ids), device)  # type: ignore[misc]
        seconds.append((pair["ours"], pair["peft"]))
    counted = seconds[2:]
    figures["step time"] = [statistics.median(s) for s in zip(*counted, strict=True)]
    ratios = {name: pair[0] / pair[1] for name, pair in figures.items()}
    ratios["step time"] = statistics.median(a / b for a, b in counted)
    return {"figures": figures, "ratios": ratios}


@click.command()
@click.option("--shape", "shape_name", type=click.Choice(list(SHAPES)), default="small")
@click.option("--rank", default=32)
@click.option("--density", default=0.1)
@click.option("--rounds", default=15, help="Number of measured step pairs.")
@click.option("--json", "as_json", is_flag=True)
def main(shape_name: str, rank: int, density: float, rounds: int, as_json: bool) -> None:
    """Print the table, and fail if a ratio exceeds its target."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = compare(SHAPES[shape_name], rank, density, rounds, device)
    found |= {"shape": shape_name, "rank": rank, "density": density, "rounds": rounds, "device": device}
    found |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "targets": TARGETS}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{shape_name}, r = {rank}, density {density}, {rounds} pairs of steps, {device}")
        print(f"{'':20} {'lori_cl':>14} {'PEFT LoRA':>14} {'ratio':>7} {'target':>9}")
        for name, (ours, peft) in found["figures"].items():
            unit, by = ("s", 1.0) if name == "step time" else ("MiB", 2.0**20)
            row = f"{name:20} {ours / by:10.3f} {unit:3} {peft / by:10.3f} {unit:3} "
            print(f"{row} {found['ratios'][name]:6.3f}  ≤ {TARGETS[name]:.2f}")
    missed = [name for name, target in TARGETS.items() if found["ratios"][name] > target]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
