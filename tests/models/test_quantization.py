"""Base models that bitsandbytes quantises when they are loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lori_cl.adapters import lora_model, select_sites
from lori_cl.errors import ModelError, TargetError
from lori_cl.models import quantization
from lori_cl.models.base_model import load_base
from lori_cl.spec import AdapterSpec, CurriculumSpec, ModelSpec

NF4 = {"bits": 4, "kind": "nf4", "double": True}
IDS = torch.tensor([[3, 4, 5, 6, 7]])


def load(path: Path, settings: dict[str, Any] | None, dtype: str = "float32") -> Any:
    return load_base(ModelSpec(path=str(path), quantization=settings, dtype=dtype), "causal-lm")


@pytest.mark.parametrize("settings", [NF4, {"bits": 4, "kind": "fp4", "double": False}, {"bits": 8}])
def test_quantized_model_computes_nearly_what_the_model_computes(
    tiny_causal_lm: Path, settings: dict[str, Any]
) -> None:
    plain, base = load(tiny_causal_lm, None), load(tiny_causal_lm, settings)
    with torch.no_grad():
        expected, found = plain.model(input_ids=IDS).logits, base.model(input_ids=IDS).logits
    assert 0 < (found - expected).norm() < 0.3 * expected.norm()
    assert {p.dtype for n, p in base.model.named_parameters() if "proj" in n} <= {torch.uint8, torch.int8}
    assert base.digest != plain.digest


def test_digest_covers_the_quantized_weights(tiny_causal_lm: Path) -> None:
    digests = [
        load(tiny_causal_lm, each).digest for each in (NF4, NF4, {**NF4, "double": False}, {"bits": 8})
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_all_linear_selects_the_same_sites_and_shares_of_a_quantized_model(tiny_causal_lm: Path) -> None:
    plain, quantized = (select_sites(load(tiny_causal_lm, each).model, "all-linear") for each in (None, NF4))
    assert quantized.sites == plain.sites
    assert quantized.parameters == plain.parameters


def test_settings_that_cannot_apply_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"are only used with bits: 4"):
        ModelSpec(path="a/b", quantization={"bits": 8, "kind": "fp4"})
    with pytest.raises(ValidationError, match="a GGUF file is dequantised when it is loaded"):
        ModelSpec(path="./a.gguf", quantization=NF4)


def test_missing_package_is_a_one_line_error_that_names_the_extra(
    tiny_causal_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"needs bitsandbytes: pip install 'lori-cl\[quantization\]'"):
        load(tiny_causal_lm, NF4)


def test_model_that_is_quantized_already_is_refused(tiny_causal_lm: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_causal_lm, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(ModelError, match=r"is quantised already; remove model\.quantization"):
        load(folder, NF4)


def test_curriculum_without_quantization_is_recorded_as_before() -> None:
    record = CurriculumSpec(name="a", model={"path": "a/b"}, tasks=["t"]).to_record()
    assert record["model"] == {"path": "a/b", "revision": None, "dtype": "float32"}
    eight = CurriculumSpec(name="a", model={"path": "a/b", "quantization": {"bits": 8}}, tasks=["t"])
    assert CurriculumSpec.model_validate(eight.to_record()) == eight
    settings = {"path": "a/b", "quantization": NF4}
    assert CurriculumSpec(name="a", model=settings, tasks=["t"]).to_record()["model"]["quantization"] == NF4


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel optimum"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao"),
    ],
)
def test_missing_package_of_a_quantized_checkpoint_is_named(
    tiny_causal_lm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    packages: str,
) -> None:
    folder = with_config(tiny_causal_lm, tmp_path, quantization_config=settings)
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda _: None)
    method = settings["quant_method"]
    with pytest.raises(ModelError, match=f"is quantised with {method}, .*: pip install {packages}$"):
        load(folder, None)


class PackedLinear(nn.Module):
    """A Linear as GPTQ and AWQ have it: integers in buffers, no parameter."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("qweight", torch.zeros(linear.in_features // 8, linear.out_features).int())
        self._linear = [linear]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._linear[0](x)
        return out


def test_packed_linears_are_sites_with_all_their_weights(tiny_causal_lm: Path) -> None:
    model = load(tiny_causal_lm, None).model
    plain = select_sites(model, "all-linear")
    for name in plain.sites:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, PackedLinear(model.get_submodule(name)))
    packed = select_sites(model, "all-linear")
    assert (packed.sites, packed.parameters) == (plain.sites, plain.parameters)
    assert select_sites(model, "all-linear", recorded=plain.sites).sites == plain.sites


def test_linears_that_peft_cannot_adapt_are_refused_in_one_line(tiny_causal_lm: Path) -> None:
    model = load(tiny_causal_lm, None).model
    layer = model.get_submodule("model.layers.0.mlp")
    layer.up_proj = PackedLinear(layer.up_proj)
    with pytest.raises(TargetError, match=r"adapter\.targets: Target module PackedLinear\(\) is not support"):
        lora_model(model, AdapterSpec(targets=("up_proj",)))


def with_config(model: Path, folder: Path, **fields: Any) -> Path:
    copied = Path(shutil.copytree(model, folder / "model"))
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | fields))
    return copied
