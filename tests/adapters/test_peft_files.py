"""Saved adapter folders load in PEFT and are complete or absent."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from lori_cl.adapters import LoRAWeights, lora_layers, merge, read_weights, save_peft
from lori_cl.adapters.lora_model import alpha_for
from lori_cl.errors import InputError, WorkspaceUnusable

from .checks import two_stage_model
from .tiny import MODELS, logits


def plain(base: Any, weights: LoRAWeights) -> Any:
    """PEFT's own LoRA with these weights."""
    rank = next(iter(weights.a.values())).shape[0]
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=rank, target_modules=list(weights.a)))
    for site, layer in lora_layers(model).items():
        layer.lora_A["default"].weight.data.copy_(weights.a[site])
        layer.lora_B["default"].weight.data.copy_(weights.b[site])
        layer.scaling["default"] = weights.scaling
    return model


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_saved_folder_is_bitwise_equal_to_its_weights_in_plain_peft(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT flips fan_in_fan_out for Conv1D with a warning
        attached, *_ = two_stage_model(make())
        acting = read_weights(attached)
        merged = merge([acting, LoRAWeights(acting.a, acting.b, scaling=0.3)], "cat", [0.4, 0.5]).weights
        for name, weights in (("merged", merged), ("acting", acting)):
            folder = tmp_path / name
            save_peft(folder, weights, "base", None, {})
            loaded = PeftModel.from_pretrained(make(), folder)
            assert torch.equal(logits(loaded), logits(plain(make(), weights)))
            assert not torch.equal(logits(loaded), logits(make()))
    assert torch.equal(logits(loaded), logits(attached))


def weights() -> LoRAWeights:
    return LoRAWeights({"site": torch.ones(3, 4)}, {"site": torch.ones(5, 3)}, scaling=2.0)


@pytest.mark.nightly
def test_saved_folder_records_its_sources_and_is_deterministic(
    tmp_path: Path, fresh: Callable[[Path], None]
) -> None:
    fresh(tmp_path / "one")
    sites = [f"layers.{i}.site" for i in range(9)]
    made = LoRAWeights({s: torch.ones(3, 4) for s in sites}, {s: torch.ones(5, 3) for s in sites}, 2.0)
    save_peft(tmp_path / "two", made, "the-base", "main", {"digest": "123"}, fan_in_fan_out=True)
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert set(one) == {"adapter_config.json", "adapter_model.safetensors"}
    assert one == two
    config = json.loads(one["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == ("the-base", "main")
    assert config["fan_in_fan_out"] is True
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6, 0.0)
    assert b'"{\\"digest\\":\\"123\\"}"' in one["adapter_model.safetensors"]


@pytest.fixture
def fresh() -> Callable[[Path], None]:
    """Write a folder in a separate process, where sets have a different order."""
    code = """
import sys, torch
from pathlib import Path
from lori_cl.adapters import LoRAWeights, save_peft
sites = [f"layers.{i}.site" for i in range(9)]
weights = LoRAWeights({s: torch.ones(3, 4) for s in sites}, {s: torch.ones(5, 3) for s in sites}, 2.0)
save_peft(Path(sys.argv[1]), weights, "the-base", "main", {"digest": "123"}, fan_in_fan_out=True)
"""

    def write(folder: Path) -> None:
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True)

    return write


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for target, message in (
        (tmp_path / "full", "is not empty"),
        (tmp_path / "full" / "mine.txt", "is a file"),
    ):
        with pytest.raises(InputError, match=message):
            save_peft(target, weights(), "base", None, {})
    assert [f.name for f in tmp_path.rglob("*")] == ["full", "mine.txt"]


def test_empty_folders_are_accepted_and_missing_parents_are_created(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new" / "inner"):
        save_peft(folder, weights(), "base", None, {})
        assert (folder / "adapter_model.safetensors").is_file()


def test_failed_save_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(WorkspaceUnusable, match="No space left on device"):
        save_peft(tmp_path / "out", weights(), "base", None, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rank", [1, 3, 7, 49, 96])
def test_alpha_reproduces_the_scaling(rank: int) -> None:
    for alpha in (*range(1, 200), 0.7, 12.34):
        assert alpha_for(alpha / rank, rank) / rank == alpha / rank
        scaling = alpha_for(alpha / 7, rank) / rank  # possibly no float64 alpha gives this scaling exactly
        assert torch.tensor(scaling, dtype=torch.float32) == torch.tensor(alpha / 7, dtype=torch.float32)


def test_integral_alpha_is_written_as_an_integer() -> None:
    assert isinstance(alpha_for(1.0, 7), int)
