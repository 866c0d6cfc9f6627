"""The whole workflow on a base model in a GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lori_cl.evaluation import load_run
from lori_cl.registry import Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.export import export
from lori_cl.serving.export_all import export_all
from lori_cl.serving.predict import Predictor, predict_rows
from lori_cl.serving.requests import read_rows
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions, run_curriculum
from tests.models.gguf_files import tiny_llama, write_gguf
from tests.verify_checks import ALL_CHECKS

from .forging import findings


def test_run_on_a_gguf_file_is_verified_exported_and_loaded_by_plain_peft(
    workspace: Workspace, tmp_path: Path, declare_generation: Callable[..., None]
) -> None:
    gguf = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), kind="Q8_0")
    declare_generation("say", ("red", "blue"), max_new_tokens=4, chat=True)
    declare_generation(
        "pick", ("red", "blue"), kind="multiple_choice", choices=["red", "blue"], answer_is="text"
    )
    curriculum = {
        "name": "gguf",
        "model": {"path": str(gguf)},
        "tasks": ["say", "pick"],
        "adapter": {"rank": 4, "alpha": 8, "projection": "null-space", "null_space": {"max_directions": 4}},
        "masks": {"strategy": "random"},
        "train": {"epochs": 2, "batch_size": 4, "lr": 0.05, "max_length": 32},
        "eval": {"views": ["as_trained", "current", "routed"]},
    }
    (tmp_path / "gguf.yaml").write_text(yaml.safe_dump(curriculum))
    run_curriculum(workspace, load_curriculum(tmp_path / "gguf.yaml"), "run", RunOptions(), SilentProgress())
    assert list(findings(workspace)) == ALL_CHECKS
    with workspace.read() as registry:
        run = load_run(workspace, registry, "run")
    assert export(run, "say", tmp_path / "out").largest_difference == 0.0
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
    run.method.activate(run.acting("say"))
    ids = torch.tensor([[1, 40, 50, 60]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, run.model(input_ids=ids).logits)
    export(run, "say", tmp_path / "merged", merged=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=ids).logits, run.model(input_ids=ids).logits)
    note = export_all(run, tmp_path / "all", verify=False).vllm_note
    assert note is not None
    assert "it is a GGUF file" in note
    (row,) = predict_rows(Predictor(run), read_rows(run, ['{"q": "it is wet"}'], "say"), 1)
    assert row["task"] == "say"
