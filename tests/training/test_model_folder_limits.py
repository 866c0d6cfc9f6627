"""Model folders are untrusted input: what their files ask for is bounded before it takes memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import ModelError
from lori_cl.spec import ModelSpec
from lori_cl.training.base_model import load_base, load_tokenizer
from lori_cl.training.model_folder_limits import guard_tokenizer, no_panic
from lori_cl.training.tokenizer_growth import check_tokenizer_json


@pytest.fixture
def folder(tiny_encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "model"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_hidden_layers", 1_000_000, "num_hidden_layers is 1,000,000; it must be between 0 and 10,000"),
        ("num_labels", 10**9, "num_labels is 1,000,000,000"),
        ("num_hidden_layers", 9_999, "a model with more modules than its weights files hold"),
        ("intermediate_size", 10**8, "a model with more values than its weights files hold"),
        ("vocab_size", 10**9, "a model with more values than its weights files hold"),
        ("is_decoder", True, "is_decoder: true"),
    ],
)
def test_a_config_that_asks_for_too_much_is_refused_in_one_line(
    folder: Path, field: str, value: object, words: str
) -> None:
    change(folder / "config.json", **{field: value})
    with pytest.raises(ModelError, match=words) as refused:
        load_base(ModelSpec(path=str(folder)), "encoder")
    assert "\n" not in str(refused.value)


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"normalizer": {"type": "Replace", "pattern": pattern, "content": content}}


EXPLODING = {
    "a long replacement": replaced({"String": "a"}, "b" * 500),
    "replacements in sequence": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [replaced({"String": "a"}, "a" * 20)["normalizer"]] * 6,
        }
    },
    "a replacement of nothing": replaced({"Regex": "x*"}, "b" * 100),
    "counted repetitions": replaced({"Regex": "((a{99}){99}){99}"}, "b"),
    "padding": {"padding": {"strategy": {"Fixed": 2**30}}},
    "a long unknown token": {"model": {"unk_token": "u" * 5_000}},
}


@pytest.mark.parametrize("settings", EXPLODING.values(), ids=EXPLODING)
def test_a_tokenizer_that_multiplies_a_text_is_refused_before_it_is_made(
    folder: Path, settings: dict[str, Any]
) -> None:
    change(folder / "tokenizer.json", **settings)
    with pytest.raises(ModelError, match=r"tokenizer\.json: "):
        load_tokenizer(ModelSpec(path=str(folder)))


@pytest.mark.parametrize(
    "settings",
    [
        replaced({"String": " "}, "▁"),
        replaced({"Regex": " {2,}"}, "▁"),
        {"pre_tokenizer": {"type": "ByteLevel"}},
        {"normalizer": None},
    ],
)
def test_steps_that_real_tokenizers_use_are_accepted(settings: dict[str, Any]) -> None:
    assert check_tokenizer_json("model", settings) <= 3


def test_a_text_that_would_grow_too_long_is_refused(folder: Path) -> None:
    tokenizer = load_tokenizer(ModelSpec(path=str(folder)))
    guard_tokenizer("model", tokenizer, growth=4.0, longest=100)
    assert tokenizer("red blue")["input_ids"]
    with pytest.raises(ModelError, match="may make a text 4 times longer"):
        tokenizer("red " * 10)


@pytest.mark.parametrize("fails", [KeyboardInterrupt, ValueError])
def test_other_errors_pass_through(fails: type[BaseException]) -> None:
    with pytest.raises(fails), no_panic("model", "to load"):
        raise fails


def test_a_panic_of_a_rust_library_is_a_model_error() -> None:
    class PanicException(BaseException):  # named as pyo3 names it
        """As pyo3 raises it."""

    said = "its tokenizer fails to load: index out of bounds"
    with pytest.raises(ModelError, match=said), no_panic("model", "to load"):
        raise PanicException("index out of bounds")
