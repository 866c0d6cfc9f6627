"""Size of a stage's artifact compared with the file of a LoRA of the same rank, on Llama-3-8B shapes.

    python benchmarks/artifact_size.py
    python benchmarks/artifact_size.py --density 0.05 --json

Sizes are computed from shapes, and every file is also written: the artifact as a run writes it, with random
cells, and PEFT's LoRA of that rank on the same sites, A and B, in both dtypes. This needs 0.3 GB of disk.

Values are stored in float32 by default, and in bfloat16 with `adapter.kept_in: bfloat16`. Each artifact is
compared with the LoRA of its dtype: the target is a twelfth of the float32 LoRA, which PEFT writes by default
even on a bfloat16 base, and 9 % of the bfloat16 LoRA. Float32 values are 13.8 % of a bfloat16 LoRA. The
values alone, 4.4 million of 4 bytes, are 10.5 % of it, so no lossless mask encoding could reach 9 %. With a
mask of H(density) bits per cell, the minimum for random cells, it would still be 12.0 %.

This holds if A is regenerated from its seed: `projection: shared` and `per-task`. Artifacts of `orthogonal`
and `null-space` stages also contain their A, 159 MB here.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lori_cl.adapters import lora_model
from lori_cl.evaluation.stage_file import stage_bytes
from lori_cl.lori_rules import cell_budget
from lori_cl.masks import STRATEGIES, Evidence, Ledger, allocate
from lori_cl.masks.mask import Shapes
from lori_cl.methods.lori.stage import LoRIStage
from lori_cl.spec import AdapterSpec

TARGETS = {torch.float32: 1 / 12, torch.bfloat16: 0.09}
"""dtype of the values and of the LoRA → target ratio of the artifact's file size to the LoRA's."""


def lora_shapes(rank: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes, (r, d_in) or (out, r), of PEFT's LoRA on all seven linears of Llama-3-8B."""
    config = LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        intermediate_size=14336,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    with torch.device("meta"):
        model = lora_model(LlamaForCausalLM(config), AdapterSpec(rank=rank, alpha=2.0 * rank))
    named = {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}
    return {name: tuple(p.shape) for name, p in named.items()}


def sites_of(lora: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Return (out, r) of each site."""
    suffix = ".lora_B.weight"
    return {
        name.removeprefix("base_model.model.").removesuffix(suffix): (shape[0], shape[1])
        for name, shape in lora.items()
        if name.endswith(suffix)
    }


def random_stage(shapes: Shapes, density: float) -> LoRIStage:
    """Return a stage with random cells of this density and random float32 values."""
    ledger = Ledger(shapes)
    scores = STRATEGIES["random"].score(Evidence(ledger.cells, seed=0))
    mask = allocate(ledger, "task", scores, cell_budget(density, ledger.cells))
    return LoRIStage(mask, {site: torch.randn(n) for site, n in mask.count_by_site().items() if n})


def written_bytes(lora: Mapping[str, tuple[int, ...]], stage: LoRIStage) -> dict[str, int]:
    """Write each file, and return the sizes. Each file replaces the one before."""
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file.safetensors"
        for dtype in TARGETS:
            converted = replace(stage, values={site: v.to(dtype) for site, v in stage.values.items()})
            file.write_bytes(stage_bytes(converted.to_tensors(), None, {"task": "task"}))
            sizes[_artifact(dtype)] = file.stat().st_size
            tensors: dict[str, Tensor] = {name: torch.zeros(s, dtype=dtype) for name, s in lora.items()}
            save_file(tensors, file)
            sizes[_lora(dtype)] = file.stat().st_size
    return sizes


def computed_bytes(lora: Mapping[str, tuple[int, ...]], shapes: Shapes, density: float) -> dict[str, int]:
    """Compute the sizes from shapes, without headers, and the sizes of the masks."""
    cells = sum(out * rank for out, rank in shapes.values())
    count = cell_budget(density, cells)
    mask = sum(math.ceil(out * rank / 8) for out, rank in shapes.values())
    parameters = sum(math.prod(shape) for shape in lora.values())
    entropy = -sum(p * math.log2(p) for p in (density, 1 - density) if p)  # bits per cell
    return {
        **{_artifact(dtype): mask + count * dtype.itemsize for dtype in TARGETS},
        "mask alone": mask,
        "an ideal mask alone": math.ceil(cells * entropy / 8),
        **{_lora(dtype): parameters * dtype.itemsize for dtype in TARGETS},
    }


def _artifact(dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')} artifact"


def _lora(dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')} LoRA"


@click.command()
@click.option("--rank", default=32)
@click.option("--density", default=0.1)
@click.option("--json", "as_json", is_flag=True)
def main(rank: int, density: float, as_json: bool) -> None:
    """Print the table, and fail if an artifact is larger than its target."""
    lora = lora_shapes(rank)
    shapes = sites_of(lora)
    computed = computed_bytes(lora, shapes, density)
    written = written_bytes(lora, random_stage(shapes, density))
    ratios = {_lora(dtype): written[_artifact(dtype)] / written[_lora(dtype)] for dtype in TARGETS}
    targets = {_lora(dtype): target for dtype, target in TARGETS.items()}
    found: dict[str, Any] = {"rank": rank, "density": density, "sites": len(shapes), "computed": computed}
    found |= {"written": written, "ratios": ratios, "targets": targets}
    print(json.dumps(found, indent=2)) if as_json else print_table(found)
    missed = [f"{ratios[name]:.1%} of a {name}" for name in ratios if ratios[name] > targets[name]]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


def print_table(found: Mapping[str, Any]) -> None:
    """Print the computed and written sizes, their share of each LoRA, and the targets."""
    loras = list(found["ratios"])
    print(f"Llama-3-8B, r = {found['rank']}, density {found['density']}, {found['sites']} sites")
    print(f"{'MB':21}{'computed':>10}{'written':>10}" + "".join(f"{f'of {name}':>18}" for name in loras))
    for name, size in found["computed"].items():
        written = f"{found['written'][name] / 1e6:.2f}" if name in found["written"] else ""
        shares = "".join(f"{size / found['computed'][lora]:18.1%}" for lora in loras)
        print(f"{name:21}{size / 1e6:10.2f}{written:>10}{shares}")
    for name in loras:
        ratio, target = found["ratios"][name], found["targets"][name]
        print(f"written, artifact to {name}: {ratio:.1%}, 1/{1 / ratio:.1f}; target ≤ {target:.1%}")


if __name__ == "__main__":
    main()
