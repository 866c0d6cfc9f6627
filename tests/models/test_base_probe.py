"""Properties of a base model found by probing it with a few short texts at load time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lori_cl.errors import ModelError
from lori_cl.models.base_model import BaseModel, load_base
from lori_cl.spec import ModelSpec
from tests.families.configs import BERT, FAMILIES, IDS, LLAMA, ROBERTA, VOCABULARY, Family, causal, encoder
from tests.families.workflow import write_base

Load = Callable[[Family], BaseModel]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def run(family: Family) -> BaseModel:
        write_base(tmp_path, family)
        kind = "encoder" if family.auto == "AutoModel" else "causal-lm"
        return load_base(ModelSpec(path=str(tmp_path)), kind)  # type: ignore[arg-type]

    return run


@pytest.mark.parametrize(
    ("family", "context"),
    [
        (encoder("Bert", **BERT), 64),
        (encoder("Roberta", **ROBERTA), 62),
        (encoder("MPNet", **ROBERTA), 62),
        (encoder("Esm", **ROBERTA, mask_token_id=6, position_embedding_type="absolute"), 62),
        (FAMILIES["longformer"], 62),
        (FAMILIES["deberta"], 64),  # its relative positions set no limit
        (causal("OPT", **IDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
                word_embed_proj_dim=16, max_position_embeddings=40), 40),
        (causal("GPT2", **IDS, n_embd=16, n_layer=1, n_head=2, n_positions=40), 40),
        (causal("Mpt", **IDS, d_model=16, n_heads=2, n_layers=1, max_seq_len=40), 40),
        (causal("Llama", **LLAMA), 64),
        (FAMILIES["gemma3"], 64),
    ],
    ids=lambda value: value if isinstance(value, int) else value.config().model_type,
)  # fmt: skip
def test_context_length_is_what_the_model_really_reads(load: Load, family: Family, context: int) -> None:
    base = load(family)
    assert base.context == context
    ids = torch.full((1, context), 7)
    base.model(
        input_ids=ids, attention_mask=torch.ones_like(ids)
    )  # raises beyond the end of its position table


def test_config_that_claims_more_positions_than_a_buffer_holds_is_detected(load: Load) -> None:
    # GPT-J stores the sines of its positions in a buffer whose size is in its config.
    base = load(causal("GPTJ", **IDS, n_embd=32, n_layer=1, n_head=4, n_positions=40, rotary_dim=4))
    base.model.config.n_positions = 64
    from lori_cl.models.context_length import usable_context

    assert usable_context(base.model, base.tokenizer, []) == 40


def test_text_model_inside_a_multimodal_checkpoint_gives_the_width(load: Load) -> None:
    assert load(FAMILIES["gemma3"]).width == 32


def test_encoder_with_causal_attention_is_refused(load: Load) -> None:
    with pytest.raises(ModelError, match=r"a bert that reads only from left to right.*is_decoder: false"):
        load(FAMILIES["bert-decoder"])


def test_masked_language_model_is_refused_as_a_causal_lm(load: Load) -> None:
    with pytest.raises(ModelError, match="a bert whose predictions depend on later tokens"):
        load(FAMILIES["bert-as-causal"])


def test_model_without_a_token_embedding_is_refused(load: Load) -> None:
    with pytest.raises(ModelError, match="a model of type canine has no table of token embeddings"):
        load(FAMILIES["canine"])


@pytest.mark.parametrize(
    ("name", "ignores"),
    [("bert", True), ("convbert", False), ("llama", True), ("rwkv", False), ("mamba", True)],
)
def test_model_whose_answers_depend_on_padding_is_recognised(load: Load, name: str, ignores: bool) -> None:
    assert load(FAMILIES[name]).ignores_padding == ignores


def test_loading_does_not_change_the_random_state(load: Load, tmp_path: Path) -> None:
    load(FAMILIES["bert"])
    before = torch.random.get_rng_state()
    base = load_base(ModelSpec(path=str(tmp_path)), "encoder")
    assert torch.equal(before, torch.random.get_rng_state())
    assert base.model.get_input_embeddings().weight.shape[0] == VOCABULARY
