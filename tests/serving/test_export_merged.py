"""Merged weights give the outputs of the run without PEFT."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from lori_cl import digest
from lori_cl.adapters import LoRAWeights
from lori_cl.errors import ExportDiffers, InputError
from lori_cl.evaluation import LoadedRun, load_run
from lori_cl.registry import Run, Workspace
from lori_cl.serving import export as export_file
from lori_cl.serving.export import export
from lori_cl.serving.merged_model import merge_into
from lori_cl.tasks import kind_of
from lori_cl.tasks.kinds.pooling import mean_pooled

TEXTS = ["it is wet red dry", "is it flat blue small", "red"]
HARD = {"epochs": 4, "batch_size": 4, "lr": 0.05, "max_length": 16}


def loaded(workspace: Workspace) -> LoadedRun:
    with workspace.read() as registry:
        return load_run(workspace, registry, "run")


def states(model: nn.Module, folder: Path) -> Tensor:
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return mean_pooled(model.eval(), batch["input_ids"], batch["attention_mask"])


@pytest.mark.parametrize("task", ["a", None])
def test_merged_encoder_gives_the_states_of_the_run_without_peft(
    trained: Workspace, tmp_path: Path, tiny_encoder: Path, task: str | None
) -> None:
    run = loaded(trained)
    done = export(run, task, tmp_path / "out", merged=True)
    model, info = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    run.method.activate(run.acting(task))
    torch.testing.assert_close(states(model, tmp_path / "out"), states(run.model, tiny_encoder))
    base = AutoModel.from_pretrained(tiny_encoder)
    assert not torch.allclose(states(base, tiny_encoder), states(model, tmp_path / "out"))
    assert done.merged
    assert done.largest_difference is not None
    assert 0 < done.largest_difference < 1e-5
    assert not list((tmp_path / "out").glob("adapter_*"))


def test_merged_causal_model_generates_the_answers_of_the_run(
    generation_run: LoadedRun, tmp_path: Path
) -> None:
    done = export(generation_run, "turn", tmp_path / "out", merged=True)
    assert done.heads == ()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    eval_task = generation_run.eval_tasks[generation_run.position("turn")]
    generation_run.method.activate(generation_run.acting("turn"))
    answers = [
        kind_of(eval_task.spec).answers(
            eval_task.spec, learner, generation_run.base.tokenizer, eval_task.examples, eval_task.max_length
        )
        for learner in (model, generation_run.model.eval())
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_code_in_the_readme_of_merged_weights_computes_the_logits_of_the_task(
    train_run: Callable[..., Run], workspace: Workspace, tmp_path: Path, tiny_encoder: Path, dtype: str
) -> None:
    train_run("a", train=HARD, model={"path": str(tiny_encoder), "dtype": dtype})
    run = loaded(workspace)
    export(run, "a", tmp_path / "out", merged=True)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "Full weights: a LoRA merged into" in readme
    theirs: dict[str, Any] = {
        "inputs": AutoTokenizer.from_pretrained(tiny_encoder)(TEXTS, padding=True, return_tensors="pt")
    }
    with torch.no_grad():
        for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
            exec(block, theirs)
    run.method.activate(run.acting("a"))
    learner = kind_of(run.eval_tasks[0].spec).learner(run.model, run.history[0].head).eval()
    with torch.no_grad():
        ours = learner(theirs["inputs"]["input_ids"], theirs["inputs"]["attention_mask"])["logits"]
    tolerance = {"float32": 1e-4, "bfloat16": 0.1}[dtype]
    torch.testing.assert_close(theirs["logits"], ours, rtol=tolerance, atol=tolerance)
    assert next(theirs["model"].parameters()).dtype == getattr(torch, dtype)


def test_merged_folder_records_the_digest_of_its_weights(
    trained: Workspace, tmp_path: Path, tiny_encoder: Path
) -> None:
    export(loaded(trained), "b", tmp_path / "out", verify=False, merged=True)
    record = json.loads((tmp_path / "out" / "lori_cl.json").read_text())
    assert (record["merged"], record["tasks"][0]["task"]) == (True, "b")
    assert record["files"] == {
        name: digest.of_file(tmp_path / "out" / name) for name in ("b.head.safetensors", "model.safetensors")
    }
    assert len({file.stat().st_mode for file in (tmp_path / "out").iterdir()}) == 1
    assert AutoConfig.from_pretrained(tmp_path / "out").hidden_size == 16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("factor", [0.0, 3.0])
def test_merged_weights_with_other_outputs_are_detected_and_removed(
    train_run: Callable[..., Run],
    workspace: Workspace,
    tmp_path: Path,
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
    dtype: str,
) -> None:
    def write_other(folder: Path, spec: Any, architecture: Any, weights: LoRAWeights) -> None:
        other = LoRAWeights(weights.a, {site: b * factor for site, b in weights.b.items()}, weights.scaling)
        save_merged(folder, spec, architecture, other)

    save_merged = export_file.save_merged
    train_run("a", train=HARD, model={"path": str(tiny_encoder), "dtype": dtype})
    monkeypatch.setattr(export_file, "save_merged", write_other)
    with pytest.raises(ExportDiffers, match="loaded, its outputs differ by up to"):
        export(loaded(workspace), "a", tmp_path / "out", merged=True)
    assert list(tmp_path.glob("*out*")) == []


class Tied(nn.Module):
    """Two Linears that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight


def weights(site: str, value: float = 1.0) -> LoRAWeights:
    return LoRAWeights({site: torch.full((2, 4), value)}, {site: torch.full((4, 2), value)}, 1.0)


def test_a_site_that_shares_its_weight_is_not_merged() -> None:
    model = Tied()
    before = model.first.weight.clone()
    with pytest.raises(InputError, match="first shares its weight with another module"):
        merge_into(model, weights("first"))
    assert torch.equal(model.first.weight, before)


def test_merged_weight_that_is_not_finite_is_refused() -> None:
    model = nn.ModuleDict({"site": nn.Linear(4, 4)}).half()
    with pytest.raises(InputError, match="the merged weight of site is not finite in float16"):
        merge_into(model, weights("site", 1e3))


def test_transposed_weights_of_gpt2_are_merged_too() -> None:
    site = Conv1D(nf=6, nx=4)
    before = site(torch.ones(1, 4))
    lora = LoRAWeights({"site": torch.randn(2, 4)}, {"site": torch.randn(6, 2)}, 2.0)
    merge_into(nn.ModuleDict({"site": site}), lora)
    torch.testing.assert_close(site(torch.ones(1, 4)) - before, torch.ones(1, 4) @ lora.delta("site").T)
