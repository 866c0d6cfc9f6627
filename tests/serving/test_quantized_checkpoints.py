"""The whole workflow on checkpoints that are quantised already: torchao, GPTQ, AWQ."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TorchAoConfig

from lori_cl.adapters import select_sites
from lori_cl.errors import InputError, ModelError
from lori_cl.evaluation import load_run
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.models.base_model import load_base
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.export import export
from lori_cl.spec import ModelSpec, load_curriculum
from lori_cl.training import RunOptions, run_curriculum
from tests.verify_checks import ALL_CHECKS

from .forging import findings

IDS = torch.tensor([[3, 4, 5, 6]])
needs_torchao = pytest.mark.skipif(not importlib.util.find_spec("torchao"), reason="needs torchao")


def quantized(source: Path, folder: Path, settings: Any) -> Path:
    """Save a checkpoint that is quantised with torchao."""
    model = AutoModelForCausalLM.from_pretrained(source, quantization_config=settings, dtype=torch.float32)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def int8(tiny_causal_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchao.quantization import Int8WeightOnlyConfig

    folder = tmp_path_factory.mktemp("int8")
    return quantized(tiny_causal_lm, folder, TorchAoConfig(Int8WeightOnlyConfig(version=2)))


def run_on(
    base: Path, workspace: Workspace, folder: Path, declare: Callable[..., None], dtype: str, **more: Any
) -> Any:
    for name in ("say", "turn"):
        declare(name, ("red", "blue"), max_new_tokens=2)
    curriculum = {
        "name": "quantized",
        "model": {"path": str(base), "dtype": dtype},
        "tasks": ["say", "turn"],
        "adapter": {"rank": 4, "alpha": 8, **more},
        "masks": {"strategy": "magnitude"},
        "train": {"epochs": 4, "batch_size": 4, "lr": 0.1, "max_length": 16},
        "eval": {"views": ["as_trained", "current", "routed"]},
    }
    file = folder / "quantized.yaml"
    file.write_text(yaml.safe_dump(curriculum))
    return run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())


@needs_torchao
def test_run_on_torchao_weights_is_verified_exported_and_loaded_by_plain_peft(
    workspace: Workspace, tmp_path: Path, int8: Path, declare_generation: Callable[..., None]
) -> None:
    done = run_on(int8, workspace, tmp_path, declare_generation, "float32", projection="null-space")
    assert list(findings(workspace)) == ALL_CHECKS
    tensors, *_ = read_stage(workspace.artifacts.get(done.stages[0].artifact, "safetensors"))
    assert {t.dtype for name, t in tensors.items() if name.startswith("values/")} == {torch.float32}
    with workspace.read() as registry:
        run = load_run(workspace, registry, "run")
    assert export(run, "say", tmp_path / "out").largest_difference == 0.0
    with pytest.raises(InputError, match="the base model is quantised, so its weights cannot hold the sum"):
        export(run, "say", tmp_path / "merged", merged=True)
    plain = AutoModelForCausalLM.from_pretrained(int8, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
    run.method.activate(run.acting("say"))
    with torch.no_grad():
        found, without = run.model(input_ids=IDS).logits, load_base(run.curriculum.model, "causal-lm")
        assert torch.equal(model(input_ids=IDS).logits, found)
        assert not torch.equal(without.model(input_ids=IDS).logits, found)


@needs_torchao
def test_digest_covers_torchao_weights(int8: Path, tiny_causal_lm: Path, tmp_path: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, PerGroup

    by_group = TorchAoConfig(Int8WeightOnlyConfig(version=2, granularity=PerGroup(8)))
    other = quantized(tiny_causal_lm, tmp_path / "other", by_group)
    digests = [load_base(ModelSpec(path=str(p)), "causal-lm").digest for p in (int8, int8, other)]
    assert digests[0] == digests[1] != digests[2]


@needs_torchao
def test_torchao_weights_have_the_same_sites(int8: Path, tiny_causal_lm: Path) -> None:
    plain, found = (
        select_sites(load_base(ModelSpec(path=str(path)), "causal-lm").model, "all-linear")
        for path in (tiny_causal_lm, int8)
    )
    assert (found.sites, found.parameters) == (plain.sites, plain.parameters)


@needs_torchao
def test_weights_on_which_no_adapter_can_be_trained_are_refused(
    int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.quantizers.quantizer_torchao import TorchAoHfQuantizer

    monkeypatch.setattr(TorchAoHfQuantizer, "is_trainable", property(lambda _: False))
    with pytest.raises(ModelError, match="quantised with torchao in a form on which no adapter can be train"):
        load_base(ModelSpec(path=str(int8)), "causal-lm")


@pytest.mark.cuda
@pytest.mark.skipif(
    not (torch.cuda.is_available() and importlib.util.find_spec("gptqmodel")),
    reason="needs CUDA, gptqmodel, and LORI_CL_GPTQ or LORI_CL_AWQ with the folder of a checkpoint",
)
@pytest.mark.parametrize("method", ["GPTQ", "AWQ"])
def test_run_on_packed_weights_is_verified_and_exported(
    workspace: Workspace, tmp_path: Path, declare_generation: Callable[..., None], method: str
) -> None:
    base = os.environ.get(f"LORI_CL_{method}")
    if base is None:
        pytest.skip(f"LORI_CL_{method} names no checkpoint")
    run_on(Path(base), workspace, tmp_path, declare_generation, "float16")
    assert list(findings(workspace)) == ALL_CHECKS
    with workspace.read() as registry:
        run = load_run(workspace, registry, "run")
    export(run, "say", tmp_path / "out")
