"""The implementation of attention that `model.attention` selects."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from lori_cl.errors import ModelError, RunConflict
from lori_cl.models import attention
from lori_cl.models.base_model import load_base
from lori_cl.registry import Run, Workspace
from lori_cl.spec import CurriculumSpec, ModelSpec

IDS = torch.tensor([[3, 4, 5, 6, 7]])


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_model_is_loaded_with_the_named_attention(tiny_causal_lm: Path, name: str) -> None:
    base = load_base(ModelSpec(path=str(tiny_causal_lm), attention=name), "causal-lm")
    default = load_base(ModelSpec(path=str(tiny_causal_lm)), "causal-lm")
    assert base.model.config._attn_implementation == name
    assert base.digest == default.digest
    with torch.no_grad():
        torch.testing.assert_close(base.model(IDS).logits, default.model(IDS).logits)


def test_flash_attention_without_cuda_is_refused_before_loading(
    tiny_causal_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "device", lambda: torch.device("cpu"))
    spec = ModelSpec(path=str(tiny_causal_lm), dtype="bfloat16", attention="flash_attention_2")
    with pytest.raises(ModelError, match=r"needs a CUDA device, and this process uses cpu; or set"):
        load_base(spec, "causal-lm")


def test_missing_flash_attention_package_is_named(
    tiny_causal_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    spec = ModelSpec(path=str(tiny_causal_lm), dtype="bfloat16", attention="flash_attention_2")
    with pytest.raises(ModelError, match=r"needs the package flash-attn, .*: pip install flash-attn"):
        attention.attention_options(spec)


def test_flash_attention_in_float32_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"computes in 16 bits, and model\.dtype is float32"):
        ModelSpec(path="a/b", attention="flash_attention_2")


def test_curriculum_without_attention_is_recorded_as_before() -> None:
    record = CurriculumSpec(name="a", model={"path": "a/b"}, tasks=["t"]).to_record()
    assert record["model"] == {"path": "a/b", "revision": None, "dtype": "float32"}


def test_scores_under_another_attention_are_measured_again(
    train_run: Callable[..., Run], workspace: Workspace, tiny_encoder: Path
) -> None:
    def scores(name: str, attention: str | None) -> set[str]:
        model = {"path": str(tiny_encoder), **({"attention": attention} if attention else {})}
        train_run("colors", name=name, model=model)
        with workspace.read() as registry:
            return {e.input_digest for e in registry.evaluations(name)}

    default, eager = scores("default", None), scores("eager", "eager")
    assert default
    assert not default & eager
    assert scores("again", "eager") == eager


def test_run_is_not_resumed_with_another_attention(train_run: Callable[..., Run], tiny_encoder: Path) -> None:
    train_run("colors")
    with pytest.raises(RunConflict, match=r"model\.attention = None \(now eager\)"):
        train_run("colors", "shapes", model={"path": str(tiny_encoder), "attention": "eager"})
