"""Runs whose base model is spread over several devices, or offloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import lori_cl as cl
from lori_cl.registry import Run, Workspace
from tests.training.test_encoder_decoder_runs import VIEWS, data, tasks

OFFLOADED = {
    "model.embed_tokens": "cpu",
    "model.layers": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}
ENCODER_OFFLOADED = {"embeddings": "cpu", "encoder": "disk", "pooler": "disk"}
ADAPTER = {"rank": 4, "alpha": 8, "projection": "null-space", "null_space": {"max_directions": 2}}


def trained(root: Path, base: Path, names: list[str], device_map: Any, **train: Any) -> cl.Run:
    workspace = cl.Workspace(root)
    own = {task.name: task for task in [*tasks(), cl.Classification("sort", **data("sort"))]}
    workspace.add_task(*(own[name] for name in names))
    curriculum = cl.Curriculum(
        model={"path": str(base), **({"device_map": device_map} if device_map else {})},
        tasks=names,
        adapter=ADAPTER,
        masks={"strategy": "gradient", "density": 0.1},
        train={"epochs": 2, "batch_size": 4, "lr": 0.05, "max_length": 16, **train},
        eval={"batch_size": 4, "views": VIEWS},
    )
    return workspace.run(curriculum, name="run", progress=False)


def recorded(root: Path) -> Run:
    with Workspace(root).read() as registry:
        return registry.run("run")


@pytest.mark.nightly
@pytest.mark.parametrize("checkpointing", [False, True])
def test_offloaded_run_learns_and_exports_what_an_ordinary_run_does(
    tmp_path: Path, tiny_causal_lm: Path, checkpointing: bool
) -> None:
    names, train = ["say", "choose"], {"gradient_checkpointing": checkpointing}
    plain = trained(tmp_path / "plain", tiny_causal_lm, names, None, **train)
    placed = trained(tmp_path / "placed", tiny_causal_lm, names, OFFLOADED, **train)
    stages = [recorded(tmp_path / each).stages for each in ("plain", "placed")]
    assert [stage.artifact for stage in stages[1]] == [stage.artifact for stage in stages[0]]
    assert placed.verify()
    assert placed.predict(["it is wet red"], "say") == plain.predict(["it is wet red"], "say")
    placed.export("say", tmp_path / "out")
    fresh = AutoModelForCausalLM.from_pretrained(tiny_causal_lm, dtype=torch.float32)
    with torch.no_grad():
        before = fresh(torch.tensor([[3, 4, 5]])).logits
        after = PeftModel.from_pretrained(fresh, tmp_path / "out")(torch.tensor([[3, 4, 5]])).logits
    assert not torch.equal(before, after)


@pytest.mark.nightly
def test_offloaded_encoder_trains_a_head(tmp_path: Path, tiny_encoder: Path) -> None:
    trained(tmp_path / "plain", tiny_encoder, ["sort"], None)
    trained(tmp_path / "placed", tiny_encoder, ["sort"], ENCODER_OFFLOADED)
    plain, placed = (recorded(tmp_path / each).stages[0].artifact for each in ("plain", "placed"))
    assert placed == plain


def test_run_is_resumed_with_another_placement(tmp_path: Path, tiny_causal_lm: Path) -> None:
    trained(tmp_path, tiny_causal_lm, ["say"], None)
    trained(tmp_path, tiny_causal_lm, ["say", "choose"], OFFLOADED)
    assert len(recorded(tmp_path).stages) == 2


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("device_map", ["balanced", {**OFFLOADED, "model.layers": 1, "lm_head": 0}])
def test_run_on_two_gpus_is_verified_and_exported(
    tmp_path: Path, tiny_causal_lm: Path, device_map: Any
) -> None:
    run = trained(tmp_path / "run", tiny_causal_lm, ["say", "choose"], device_map)
    assert run.verify()
    run.export("say", tmp_path / "out")
