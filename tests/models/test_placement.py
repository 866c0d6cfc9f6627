"""Base models that accelerate spreads over several devices, or offloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from lori_cl.errors import ModelError
from lori_cl.model_traits import device_map_of, input_device, module_device
from lori_cl.models import placement
from lori_cl.models.base_model import BaseModel, load_base
from lori_cl.spec import CurriculumSpec, ModelSpec

IDS = torch.tensor([[3, 4, 5, 6, 7]])
OFFLOADED = {
    "model.embed_tokens": "disk",
    "model.layers": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


def load(path: Path, device_map: Any, **more: Any) -> BaseModel:
    return load_base(ModelSpec(path=str(path), device_map=device_map, **more), "causal-lm")


@pytest.mark.parametrize(
    "device_map", [{"": "cpu"}, {"": "disk"}, OFFLOADED, "auto", "balanced", "sequential"]
)
def test_placement_changes_neither_digest_nor_outputs(tiny_causal_lm: Path, device_map: Any) -> None:
    plain, placed = load(tiny_causal_lm, None), load(tiny_causal_lm, device_map)
    assert (placed.digest, placed.context, placed.ignores_padding) == (
        plain.digest,
        plain.context,
        plain.ignores_padding,
    )
    with torch.no_grad():
        assert torch.equal(placed.model(IDS).logits, plain.model(IDS).logits)


def test_weights_on_disk_take_no_memory_and_compute_on_this_process_s_device(tiny_causal_lm: Path) -> None:
    model = load(tiny_causal_lm, OFFLOADED).model
    offloaded = {name for name, weight in model.named_parameters() if weight.is_meta}
    assert {"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"} <= offloaded
    assert "lm_head.weight" not in offloaded
    assert device_map_of(model) is not None
    assert input_device(model) == torch.device("cpu")
    assert module_device(model.get_submodule("model.layers.0.mlp.up_proj")) == torch.device("cpu")


def test_strategy_keeps_to_the_maximum_memory(tiny_causal_lm: Path) -> None:
    model = load(tiny_causal_lm, "auto", max_memory={"cpu": "4KB"}).model
    assert "disk" in (device_map_of(model) or {}).values()


def test_several_processes_are_refused(tiny_causal_lm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "processes", lambda: 2)
    with pytest.raises(ModelError, match=r"and there are 2 processes; start one process"):
        load(tiny_causal_lm, "auto")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device_map": {"": 99}}, "model.device_map names GPU 99, and this process has"),
        ({"device_map": "auto", "max_memory": {99: "1GiB"}}, "model.max_memory names GPU 99"),
    ],
)
def test_unknown_gpu_is_refused(tiny_causal_lm: Path, settings: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_base(ModelSpec(path=str(tiny_causal_lm), **settings), "causal-lm")


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        ({"": "cpu"}, "places the whole model on the CPU or disk, and this process computes on cuda:0"),
        ({"": 1}, "places the whole model on GPU 1, and this process computes on cuda:0; remove"),
    ],
)
def test_model_on_another_device_than_the_process_is_refused(
    tiny_causal_lm: Path, monkeypatch: pytest.MonkeyPatch, device_map: Any, message: str
) -> None:
    monkeypatch.setattr(placement, "device", lambda: torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ModelError, match=message):
        load(tiny_causal_lm, device_map)


def test_map_without_a_part_of_the_model_is_refused_in_one_line(tiny_causal_lm: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be loaded as causal-lm: .*device.map"):
        load(tiny_causal_lm, {"model.layers": "disk", "lm_head": "cpu"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_memory": {0: "20GiB"}}, "only used with a strategy of model.device_map"),
        ({"device_map": "auto", "max_memory": {"disk": "20GiB"}}, "has the device 'disk'; use the number"),
        ({"device_map": "auto", "max_memory": {0: "a lot"}}, "max_memory"),
        ({"device_map": {"": 0, "lm_head": 1}}, "names 'lm_head' and '', which contains it"),
        ({"device_map": "anywhere"}, "device_map"),
        ({"device_map": {"": "gpu"}}, "device_map"),
    ],
)
def test_unusable_settings_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSpec(path="a/b", **settings)


def test_placement_round_trips_through_the_record() -> None:
    model = {"path": "a/b", "device_map": "auto", "max_memory": {0: "20GiB", "cpu": 10**10}}
    spec = CurriculumSpec(name="a", model=model, tasks=["t"])
    assert CurriculumSpec.model_validate(spec.to_record()) == spec
    assert spec.model.max_memory == {"0": "20GiB", "cpu": 10**10}


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("device_map", ["balanced", {"model": 1, "lm_head": 0}, {"model": 0, "lm_head": 1}])
def test_two_gpus_compute_what_one_computes(tiny_causal_lm: Path, device_map: Any) -> None:
    one, two = load(tiny_causal_lm, None), load(tiny_causal_lm, device_map)
    assert two.digest == one.digest
    ids = IDS.to(input_device(one.model))
    with torch.no_grad():
        torch.testing.assert_close(two.model(ids).logits, one.model(ids).logits)
