"""Encoder-decoder base models: recognised, probed and checked at load time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lori_cl.errors import ModelError
from lori_cl.models.base_model import load_base, load_tokenizer
from lori_cl.spec import ModelSpec
from lori_cl.tasks.kinds.encoder_decoder import decoder_start
from tests.families.configs import BART, T5, seq2seq
from tests.families.workflow import write_base


@pytest.mark.parametrize("name", ["t5", "bart", "causal_lm"])
def test_architecture_follows_from_the_config(request: pytest.FixtureRequest, name: str) -> None:
    folder = request.getfixturevalue(f"tiny_{name}")
    base = load_base(ModelSpec(path=str(folder)), "causal-lm")
    assert base.architecture == ("causal-lm" if name == "causal_lm" else "seq2seq-lm")
    assert base.ignores_padding


@pytest.mark.parametrize(("name", "start"), [("t5", [0]), ("bart", [2, 3]), ("causal_lm", [])])
def test_tokenizer_knows_the_first_tokens_of_the_decoder(
    request: pytest.FixtureRequest, name: str, start: list[int]
) -> None:
    assert (
        decoder_start(load_tokenizer(ModelSpec(path=str(request.getfixturevalue(f"tiny_{name}"))))) == start
    )


def test_relative_positions_of_a_t5_set_no_limit(tmp_path: Path) -> None:
    write_base(tmp_path, seq2seq("T5", **T5))
    base = load_base(ModelSpec(path=str(tmp_path)), "causal-lm")
    assert base.context > 10_000
    ids = torch.full((1, 200), 7)
    base.model(input_ids=ids, decoder_input_ids=ids)


def test_position_table_of_a_bart_is_its_context(tmp_path: Path) -> None:
    write_base(tmp_path, seq2seq("Bart", **BART))
    base = load_base(ModelSpec(path=str(tmp_path)), "causal-lm")
    assert base.context == 64
    ids = torch.full((1, 64), 7)
    base.model(input_ids=ids, decoder_input_ids=ids)
    with pytest.raises(IndexError):
        base.model(input_ids=torch.full((1, 65), 7), decoder_input_ids=ids)


def changed(folder: Path, to: Path, **fields: object) -> Path:
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **fields}))
    return to


@pytest.mark.parametrize(
    ("start", "words"),
    [(None, "sets decoder_start_token_id to 'None'; set it"), (999, "cannot begin with token 999")],
)
def test_unusable_first_token_of_the_decoder_is_refused(
    tiny_t5: Path, tmp_path: Path, start: object, words: str
) -> None:
    folder = changed(tiny_t5, tmp_path / "base", decoder_start_token_id=start)
    with pytest.raises(ModelError, match=words):
        load_base(ModelSpec(path=str(folder)), "causal-lm")


def test_encoder_decoder_model_is_refused_as_an_encoder(tiny_t5: Path) -> None:
    with pytest.raises(ModelError, match=r"a t5, which is not an encoder; .*, or a prompt$"):
        load_base(ModelSpec(path=str(tiny_t5)), "encoder")


def test_loss_is_divided_by_the_number_of_accumulated_batches(tiny_t5: Path) -> None:
    assert not load_base(ModelSpec(path=str(tiny_t5)), "causal-lm").model.accepts_loss_kwargs
