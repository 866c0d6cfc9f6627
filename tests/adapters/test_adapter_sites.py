from __future__ import annotations

import re

import pytest

from lori_cl.adapters import Site, lora_model
from lori_cl.errors import TargetError
from lori_cl.spec import AdapterSpec

from .tiny import MODELS, adapted, bert, gpt2, llama

HEADS = {"llama": "lm_head", "gpt2": "lm_head", "bert": "cls.predictions.decoder"}


def refusal(base: object, *targets: str) -> str:
    with pytest.raises(TargetError) as caught:
        lora_model(base, AdapterSpec(rank=4, targets=targets))  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_all_linear_never_selects_the_output_head(name: str) -> None:
    base = MODELS[name]()
    assert HEADS[name] in dict(base.named_modules())
    assert HEADS[name] not in {site.name for site in adapted(base)[1].sites}


def test_all_linear_never_selects_a_head_tied_to_the_embeddings() -> None:
    sites = adapted(llama(tie_word_embeddings=True))[1].sites
    assert len(sites) == 14
    assert "lm_head" not in {site.name for site in sites}


def test_all_linear_selects_the_seven_linears_of_every_layer_by_name() -> None:
    names = {site.name for site in adapted()[1].sites}
    attention = {f"self_attn.{letter}_proj" for letter in "qkvo"}
    mlp = {f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    assert names == {f"model.layers.{layer}.{end}" for layer in (0, 1) for end in attention | mlp}


def test_site_has_its_dimensions_and_cell_count() -> None:
    sites = {site.name: site for site in adapted()[1].sites}
    assert sites["model.layers.0.mlp.down_proj"] == Site("model.layers.0.mlp.down_proj", 24, 16, 4)
    assert sites["model.layers.0.mlp.down_proj"].cells == 64


def test_conv1d_site_has_its_inputs_and_outputs_in_the_right_order() -> None:
    sites = {site.name: site for site in adapted(gpt2())[1].sites}
    assert sites["transformer.h.0.attn.c_attn"] == Site("transformer.h.0.attn.c_attn", 16, 48, 4)


def test_adapter_cells_are_the_sum_over_its_sites() -> None:
    adapter = adapted()[1]
    # q and o 16, k and v 8, gate and up 24, down 16 rows, of rank 4, in 2 layers
    assert adapter.cells == sum(site.cells for site in adapter.sites) == 2 * 4 * (32 + 16 + 48 + 16)


def test_targets_match_the_ends_of_module_names() -> None:
    adapter = adapted(spec=AdapterSpec(rank=4, targets=("q_proj", "layers.1.mlp.up_proj")))[1]
    assert [site.name for site in adapter.sites] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    ]


def test_conv1d_may_be_named_as_a_target() -> None:
    adapter = adapted(gpt2(), AdapterSpec(rank=4, targets=("c_attn",)))[1]
    assert [site.name for site in adapter.sites] == [
        "transformer.h.0.attn.c_attn",
        "transformer.h.1.attn.c_attn",
    ]


@pytest.mark.parametrize(("base", "embedding"), [(llama, "model.embed_tokens"), (gpt2, "transformer.wte")])
def test_embedding_target_is_refused_with_its_name_and_class(base: type, embedding: str) -> None:
    message = refusal(base(), embedding.rsplit(".", 1)[-1])
    assert f"'{embedding}'" in message
    assert "Embedding" in message


def test_embedding_target_is_refused_among_valid_targets() -> None:
    assert "'model.embed_tokens'" in refusal(llama(), "q_proj", "embed_tokens")


@pytest.mark.parametrize("tied", [True, False])
def test_output_head_target_is_refused_with_its_name(tied: bool) -> None:
    assert "'lm_head'" in refusal(llama(tie_word_embeddings=tied), "lm_head")


def test_nested_output_head_target_is_refused_with_its_name() -> None:
    assert "'cls.predictions.decoder'" in refusal(bert(), "decoder")


@pytest.mark.parametrize(
    ("target", "found"),
    [("self_attn", "LlamaAttention"), ("norm", "LlamaRMSNorm"), ("1", "LlamaDecoderLayer")],
)
def test_target_that_is_not_linear_is_refused_with_its_class(target: str, found: str) -> None:
    assert found in refusal(llama(), target)


def test_unknown_target_suggests_the_nearest() -> None:
    message = refusal(llama(), "q_prj")
    assert "'q_prj'" in message
    assert "Did you mean 'q_proj'?" in message


def test_unknown_target_without_a_near_match_lists_the_targets_without_the_head() -> None:
    message = refusal(llama(), "zzz")
    assert re.search(r"Available: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj\.", message)
    assert "lm_head" not in message
