"""Base models in a GGUF file."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lori_cl.errors import ModelError
from lori_cl.models import location
from lori_cl.models.base_model import load_base, load_tokenizer
from lori_cl.models.gguf import CHATML, check_gguf
from lori_cl.spec import ModelSpec
from tests.attempts import refusal_of
from tests.models.gguf_files import tiny_llama, write_gguf

IDS = torch.tensor([[1, 40, 50, 60, 70]])
TEMPLATE = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama(), kind="Q8_0")


def load(file: Path, dtype: str = "float32"):  # noqa: ANN201 (a transformers model)
    return load_base(ModelSpec(path=str(file), dtype=dtype), "causal-lm")


def test_float_gguf_file_computes_what_the_model_computes(tmp_path: Path) -> None:
    model = tiny_llama()
    base = load(write_gguf(tmp_path / "tiny.gguf", model))
    assert torch.allclose(base.model(input_ids=IDS).logits, model(input_ids=IDS).logits, atol=1e-6)


def test_quantized_gguf_file_is_loaded_as_a_dense_frozen_model(quantized: Path) -> None:
    base = load(quantized)
    parameters = dict(base.model.named_parameters())
    assert {p.dtype for p in parameters.values()} == {torch.float32}
    assert not any(p.requires_grad for p in parameters.values())
    assert not getattr(base.model, "is_quantized", False)
    expected, found = tiny_llama()(input_ids=IDS).logits, base.model(input_ids=IDS).logits
    assert 0 < (found - expected).abs().max() < 0.01 * expected.abs().max()


def test_loading_draws_no_progress_bar(quantized: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(quantized)
    assert capfd.readouterr().err == ""


def test_weights_are_dequantized_to_the_declared_type(quantized: Path) -> None:
    assert {p.dtype for p in load(quantized, "bfloat16").model.parameters()} == {torch.bfloat16}


def test_digest_is_that_of_the_content_of_the_file(quantized: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copy(quantized, tmp_path / "renamed.gguf"))
    other = write_gguf(tmp_path / "other.gguf", tiny_llama(), kind="Q8_0", template=TEMPLATE)
    assert load(renamed).digest == load(quantized).digest != load(other).digest


def test_file_of_the_same_name_in_the_working_folder_is_not_loaded(
    quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_llama()
    torch.nn.init.ones_(other.model.embed_tokens.weight)
    write_gguf(tmp_path / quantized.name, other)
    monkeypatch.chdir(tmp_path)
    assert not torch.equal(load(quantized).model.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_tokenizer_of_the_file_encodes_and_decodes(quantized: Path) -> None:
    tokenizer = load_tokenizer(ModelSpec(path=str(quantized)))
    ids = tokenizer("red blue")["input_ids"]
    assert tokenizer.decode(ids) == "red blue"
    assert len(ids) == 3
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )


def test_chat_template_of_the_file_is_used(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), template=TEMPLATE)
    assert load_tokenizer(ModelSpec(path=str(file))).chat_template == TEMPLATE


def test_file_without_a_chat_template_gets_chatml_and_says_so(
    quantized: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tokenizer = load_tokenizer(ModelSpec(path=str(quantized)))
    assert tokenizer.chat_template == CHATML
    assert "has no chat template; using ChatML" in caplog.text
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "red"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|im_start|>user\nred<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./missing.gguf", "is not a GGUF file"),
        ("package:lori_cl/missing.gguf", "the package lori_cl has no GGUF file 'missing.gguf'"),
        ("package:lori_cl/../missing.gguf", "the package lori_cl has no GGUF file"),
        ("package:llm_smollm3/a.gguf", "the package llm_smollm3 is not installed"),
        ("owner/name/missing.gguf", "is neither a file nor a GGUF file of a hub model; write"),
        ("missing.gguf", "is neither a file nor a GGUF file of a hub model; write"),
    ],
)
def test_missing_gguf_file_is_a_one_line_error(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location, "find_file", lambda *_: None)  # as without a network
    with pytest.raises(ModelError, match=message):
        load_tokenizer(ModelSpec(path=path))


def test_metadata_with_too_many_layers_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), layers=2**31)
    with pytest.raises(ModelError, match=r"llama\.block_count must be between 0 and 10,000, not 2147483648"):
        load(file)


def test_metadata_with_more_layers_than_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not hold \d+ of the weights|more modules than"):
        load(write_gguf(tmp_path / "tiny.gguf", tiny_llama(), layers=900))


def test_file_that_is_not_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"no" * 100)
    with pytest.raises(ModelError, match="is not a readable GGUF file"):
        load(tmp_path / "tiny.gguf")


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(places=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=3))
def test_any_header_is_read_or_refused_in_one_line(
    quantized: Path, tmp_path: Path, places: list[tuple[int, int]]
) -> None:
    content = bytearray(quantized.read_bytes())
    for place, byte in places:
        content[place] = byte
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content)
    refusal_of(lambda: check_gguf(str(damaged), damaged))
