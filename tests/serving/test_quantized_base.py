"""The whole workflow on a base model with 4-bit weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lori_cl.errors import InputError
from lori_cl.evaluation import load_run
from lori_cl.evaluation.stage_file import read_stage
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.export import export
from lori_cl.serving.export_all import export_all
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum
from tests.verify_checks import ALL_CHECKS

from .forging import findings


def test_run_on_4_bit_weights_is_verified_exported_and_loaded_by_plain_peft(
    workspace: Workspace, tmp_path: Path, tiny_causal_lm: Path, declare_generation: Callable[..., None]
) -> None:
    for name in ("say", "turn"):
        declare_generation(name, ("red", "blue"), max_new_tokens=2)
    curriculum = {
        "name": "quantized",
        "model": {"path": str(tiny_causal_lm), "quantization": {"bits": 4}},
        "tasks": ["say", "turn"],
        "adapter": {"rank": 4, "alpha": 8},
        "masks": {"strategy": "magnitude"},
        "train": {"epochs": 8, "batch_size": 4, "lr": 0.1, "max_length": 16},
        "eval": {"views": ["as_trained", "current", "routed"]},
    }
    file = tmp_path / "quantized.yaml"
    file.write_text(yaml.safe_dump(curriculum))
    done = run_curriculum(workspace, load_curriculum(file), "run", RunOptions(), SilentProgress())
    assert list(findings(workspace)) == ALL_CHECKS
    tensors, *_ = read_stage(workspace.artifacts.get(done.stages[0].artifact, "safetensors"))
    values = [tensor for name, tensor in tensors.items() if name.startswith("values/")]
    assert {tensor.dtype for tensor in values} == {torch.float32}
    with workspace.read() as registry:
        run = load_run(workspace, registry, "run")
    assert export(run, "say", tmp_path / "out").largest_difference == 0.0
    with pytest.raises(InputError, match="the base model is quantised to 4 bits"):
        export(run, "say", tmp_path / "merged", merged=True)
    note = export_all(run, tmp_path / "all", verify=False).vllm_note
    assert note is not None
    assert note.endswith("the run quantised the base to 4 bits; the command does not")
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    plain = AutoModelForCausalLM.from_pretrained(
        tiny_causal_lm, quantization_config=nf4, dtype=torch.float32, device_map={"": "cpu"}
    )
    model = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
    run.method.activate(run.acting("say"))
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, run.model(input_ids=ids).logits)
