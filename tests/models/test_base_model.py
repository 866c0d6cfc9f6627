from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lori_cl.errors import ModelError
from lori_cl.models.base_model import load_base
from lori_cl.spec import ModelSpec

Edit = Callable[[Path], None]


def edit_json(name: str, **values: object) -> Edit:
    def edit(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return edit


def drop_query(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    remaining = {name: tensor for name, tensor in weights.items() if "query" not in name}
    save_file(remaining, folder / "model.safetensors", metadata={"format": "pt"})


def drop_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


def swap_two_words(folder: Path) -> None:
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["red"], vocabulary["blue"] = vocabulary["blue"], vocabulary["red"]
    file.write_text(json.dumps(tokenizer))


@pytest.fixture
def copy(tiny_encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "model"))


def test_digest_does_not_depend_on_the_location_of_the_model(tiny_encoder: Path, copy: Path) -> None:
    digests = {load_base(ModelSpec(path=str(p)), "encoder").digest for p in (tiny_encoder, copy)}
    assert len(digests) == 1


def test_config_with_return_dict_false_changes_no_output(copy: Path) -> None:
    edit_json("config.json", return_dict=False)(copy)
    model = load_base(ModelSpec(path=str(copy)), "encoder").model
    assert model(input_ids=torch.tensor([[3]])).last_hidden_state.shape == (1, 1, 16)


@pytest.mark.parametrize("edit", [swap_two_words, edit_json("config.json", layer_norm_eps=0.1)])
def test_tokenizer_and_config_are_part_of_the_digest(copy: Path, edit: Edit) -> None:
    before = load_base(ModelSpec(path=str(copy)), "encoder").digest
    edit(copy)
    assert load_base(ModelSpec(path=str(copy)), "encoder").digest != before


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_query, r"does not hold 2 of the weights .*query\.bias"),
        (drop_tokenizer, "has no tokenizer files"),
        (
            edit_json("tokenizer_config.json", pad_token=None, eos_token=None),
            "neither a pad nor an eos token",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "cannot be loaded"),
    ],
)
def test_incomplete_model_is_refused(copy: Path, edit: Edit, message: str) -> None:
    edit(copy)
    with pytest.raises(ModelError, match=message):
        load_base(ModelSpec(path=str(copy)), "encoder")


def test_encoder_is_refused_as_a_causal_lm(copy: Path) -> None:
    with pytest.raises(ModelError, match="of a model of type causal-lm"):
        load_base(ModelSpec(path=str(copy)), "causal-lm")


def test_decoder_is_refused_as_an_encoder(tiny_causal_lm: Path) -> None:
    with pytest.raises(ModelError, match="is a llama, which is not an encoder"):
        load_base(ModelSpec(path=str(tiny_causal_lm)), "encoder")
