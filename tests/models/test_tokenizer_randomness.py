"""A tokenizer with random segmentation is made deterministic at load time or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lori_cl.errors import ModelError
from lori_cl.models.base_model import load_base, load_tokenizer
from lori_cl.models.tokenizer_checks import PROBE, make_deterministic_tokenizer
from lori_cl.spec import ModelSpec


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal LM whose BPE tokenizer drops half of its merges at random."""
    folder = tmp_path_factory.mktemp("merging")
    cut = Tokenizer(models.BPE(dropout=0.5))
    cut.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["[PAD]", "[EOS]"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    cut.train_from_iterator([PROBE] * 5, trainer)
    PreTrainedTokenizerFast(tokenizer_object=cut, pad_token="[PAD]", eos_token="[EOS]").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def encodings(tokenizer: Any) -> set[tuple[int, ...]]:
    return {tuple(tokenizer(PROBE)["input_ids"]) for _ in range(20)}


def test_bpe_dropout_is_disabled_with_a_log_line(merging: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(encodings(AutoTokenizer.from_pretrained(merging))) > 1
    tokenizer = load_base(ModelSpec(path=str(merging)), "causal-lm").tokenizer
    assert len(encodings(tokenizer)) == 1
    assert f"model.path '{merging}': disabled its tokenizer's BPE dropout (dropout: 0.5)" in caplog.text


def test_disabled_dropout_gives_the_tokens_of_a_tokenizer_without_it(merging: Path, tmp_path: Path) -> None:
    plain = Path(shutil.copytree(merging, tmp_path / "plain"))
    record = json.loads((plain / "tokenizer.json").read_text())
    record["model"]["dropout"] = None
    (plain / "tokenizer.json").write_text(json.dumps(record))
    found = [encodings(load_tokenizer(ModelSpec(path=str(folder)))) for folder in (merging, plain)]
    assert found[0] == found[1]


def test_unigram_sampling_is_disabled(caplog: pytest.LogCaptureFixture) -> None:
    letters = [(letter, -3.0) for letter in sorted(set(PROBE))]
    pieces = [("<unk>", 0.0), *letters, ("th", -5.9), ("un", -5.9), ("be", -5.9), ("ed", -5.9)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)))
    tokenizer.backend_tokenizer.model.alpha = 0.1
    tokenizer.backend_tokenizer.model.nbest_size = 8
    assert len(encodings(tokenizer)) > 1
    make_deterministic_tokenizer("m", tokenizer)
    assert len(encodings(tokenizer)) == 1
    assert "unigram sampling" in caplog.text


class Sampling:
    """A slow tokenizer like SentencePiece with enable_sampling."""

    is_fast = False

    def __init__(self, options: dict[str, Any], draws: bool) -> None:
        self.sp_model_kwargs = options
        self._draws, self._calls = draws, 0

    def __call__(self, text: str) -> dict[str, list[int]]:
        self._calls += 1
        return {"input_ids": [self._calls if self._draws else 1]}


@pytest.mark.parametrize(
    "tokenizer", [Sampling({"enable_sampling": True}, draws=False), Sampling({}, draws=True)]
)
def test_slow_tokenizer_that_samples_is_refused(tokenizer: Any) -> None:
    with pytest.raises(
        ModelError, match=r"^model.path 'm' has a tokenizer that encodes the same text differ"
    ):
        make_deterministic_tokenizer("m", tokenizer)


def test_slow_tokenizer_that_does_not_sample_is_accepted() -> None:
    make_deterministic_tokenizer("m", Sampling({"enable_sampling": False}, draws=False))


def test_generation_config_end_token_is_part_of_the_base_model_digest(merging: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(merging, tmp_path / "other"))
    record = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**record, "eos_token_id": [1, 5]}))
    digests = {load_base(ModelSpec(path=str(folder)), "causal-lm").digest for folder in (merging, other)}
    assert len(digests) == 2


def test_invalid_end_token_id_is_refused_at_load_time(merging: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(merging, tmp_path / "other"))
    record = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**record, "eos_token_id": "</s>"}))
    with pytest.raises(ModelError):
        load_base(ModelSpec(path=str(other)), "causal-lm")
