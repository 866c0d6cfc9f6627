"""Import of an adapter trained under a class with a head: names are matched, the head is dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from lori_cl.errors import InputError
from lori_cl.registry import Run, Workspace
from lori_cl.runtime import SilentProgress
from lori_cl.serving.adapter_import import import_folder
from lori_cl.spec import load_curriculum
from lori_cl.training import RunOptions
from lori_cl.training.import_checks import match_names

TrainRun = Callable[..., Run]
ImportAdapter = Callable[[Path], Run]
PREFIX = "base_model.model."


@pytest.fixture
def import_adapter(
    train_run: TrainRun, workspace: Workspace, write_curriculum: Callable[..., Path]
) -> ImportAdapter:
    train_run("a", name="for-data")

    def run(folder: Path) -> Run:
        adapter = {"rank": 4, "alpha": 8, "targets": ["query", "value"]}
        spec = load_curriculum(write_curriculum("a", adapter=adapter))
        return import_folder(workspace, folder, spec, "second", None, RunOptions(), SilentProgress())

    return run


def classifier_lora(folder: Path, base: Path, auto: Any, **settings: Any) -> Path:
    """Save a LoRA of a BERT with a head; every cell of B is random."""
    torch.manual_seed(3)
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], **settings}
    model = get_peft_model(auto.from_pretrained(base), LoraConfig(**config))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("auto", "settings"),
    [
        (AutoModelForSequenceClassification, {}),
        (AutoModelForSequenceClassification, {"task_type": "SEQ_CLS"}),
        (AutoModelForTokenClassification, {"task_type": "TOKEN_CLS"}),
    ],
)
def test_lora_of_a_classifier_is_imported_from_any_model_class(
    tmp_path: Path, tiny_encoder: Path, import_adapter: ImportAdapter, auto: Any, settings: dict[str, Any]
) -> None:
    run = import_adapter(classifier_lora(tmp_path / "lora", tiny_encoder, auto, **settings))
    assert run.stages[0].mask is not None
    assert set(run.stages[0].mask.by_site) == {
        f"encoder.layer.0.attention.self.{part}" for part in ("query", "value")
    }


def test_head_of_an_imported_classifier_lora_is_dropped_and_logged(
    tmp_path: Path, tiny_encoder: Path, import_adapter: ImportAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    auto = AutoModelForSequenceClassification
    import_adapter(classifier_lora(tmp_path / "lora", tiny_encoder, auto, task_type="SEQ_CLS"))
    assert "ignored classifier.bias, classifier.weight" in caplog.text


def test_adapter_that_contains_a_full_module_of_the_base_model_is_refused(
    tmp_path: Path, tiny_encoder: Path, import_adapter: ImportAdapter
) -> None:
    auto = AutoModelForSequenceClassification
    folder = classifier_lora(tmp_path / "lora", tiny_encoder, auto, modules_to_save=["word_embeddings"])
    with pytest.raises(InputError, match=r"replaces bert\.embeddings\.word_embeddings\.weight in full"):
        import_adapter(folder)


def test_error_about_an_adapter_of_another_model_names_layers_of_both(
    tmp_path: Path, tiny_encoder: Path, import_adapter: ImportAdapter
) -> None:
    folder = classifier_lora(tmp_path / "lora", tiny_encoder, AutoModelForSequenceClassification)
    file = folder / "adapter_model.safetensors"
    renamed = {name.replace("attention.self", "attn"): t for name, t in load_file(file).items()}
    save_file(renamed, file)
    with pytest.raises(
        InputError,
        match=r"changes bert\.encoder\.layer\.0\.attn\.query.*such as encoder\.layer\.0\.attention",
    ):
        import_adapter(folder)


KNOWN = {"model.layers.0.q_proj", "model.layers.0.k_proj", "lm_head", "model", "model.layers"}


@pytest.mark.parametrize(
    ("sites", "names"),
    [
        (["model.layers.0.q_proj"], {"model.layers.0.q_proj": "model.layers.0.q_proj"}),
        (["layers.0.q_proj"], {"layers.0.q_proj": "model.layers.0.q_proj"}),
        (["base.model.layers.0.k_proj"], {"base.model.layers.0.k_proj": "model.layers.0.k_proj"}),
        (["a.model.layers.0.k_proj", "score"], {"a.model.layers.0.k_proj": "model.layers.0.k_proj"}),
        (["other.q_proj"], {"other.q_proj": "other.q_proj"}),
    ],
)
def test_names_are_matched_under_the_only_prefix_that_fits(sites: list[str], names: dict[str, str]) -> None:
    assert match_names(sites, KNOWN) == names
