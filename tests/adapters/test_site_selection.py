"""`all-linear`: the modules that are adapted, and the reasons for leaving out the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    DeepseekV3Config,
    GptOssConfig,
    GraniteMoeConfig,
    LongformerConfig,
    MambaConfig,
    MixtralConfig,
    Qwen2MoeConfig,
)

from lori_cl.adapters import attach, describe_sites, lora_model, record_calls, select_sites
from lori_cl.adapters.site_selection import EMBEDDING, EXPERTS, HEAD, MAMBA, RENAMED, ROUTER, UNREACHED
from lori_cl.errors import ModelError, TargetError
from lori_cl.spec import AdapterSpec

from .tiny import gpt2, llama, opt

SMALL = {
    "vocab_size": 25,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED = {**SMALL, "num_key_value_heads": 1}
FEW = {"num_experts_per_tok": 2}
MIXTURES = {
    "mixtral": MixtralConfig(**GROUPED, num_local_experts=4),
    "gpt-oss": GptOssConfig(**GROUPED, **FEW, head_dim=8, num_local_experts=4),
    "granite-moe": GraniteMoeConfig(**GROUPED, **FEW, num_local_experts=4),
    "qwen2-moe": Qwen2MoeConfig(
        **GROUPED, **FEW, num_experts=4, moe_intermediate_size=8, shared_expert_intermediate_size=8
    ),
}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}


def built(config: Any, auto: str = "AutoModelForCausalLM") -> Any:
    import transformers

    torch.manual_seed(0)
    return getattr(transformers, auto).from_config(config)


def last_names(names: Any) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in names}


@pytest.mark.parametrize("name", MIXTURES)
def test_moe_models_adapt_linears_but_not_fused_experts_and_routers(
    name: str,
) -> None:
    selection = select_sites(built(MIXTURES[name]), "all-linear")
    shared = {"gate_proj", "up_proj", "down_proj", "shared_expert_gate"} if name == "qwen2-moe" else set()
    assert last_names(selection.sites) == ATTENTION | shared
    assert {EXPERTS, ROUTER, HEAD, EMBEDDING} <= set(selection.left_out.values())


@pytest.mark.parametrize("name", MIXTURES)
def test_every_site_of_a_moe_model_has_the_requested_rank(name: str) -> None:
    adapter = attach(lora_model(built(MIXTURES[name]), AdapterSpec(rank=4, alpha=8)), 0, "uniform")
    assert {site.rank for site in adapter.sites} == {4}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("experts",), "MixtralExperts"),
        (("gate_up_proj",), "fused experts cannot"),
        (("q_proj", "gate"), "MixtralTopKRouter"),
    ],
)
def test_fused_expert_or_router_targets_are_refused_with_their_names(
    targets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TargetError, match=message):
        lora_model(built(MIXTURES["mixtral"]), AdapterSpec(rank=4, targets=targets))


def test_linears_that_peft_treats_as_experts_are_left_out_and_refused_as_targets() -> None:
    config = DeepseekV3Config(
        **{**SMALL, "num_key_value_heads": 2}, **FEW, moe_intermediate_size=8, n_routed_experts=4,
        n_shared_experts=1, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4,
        v_head_dim=8, first_k_dense_replace=1, n_group=1, topk_group=1,
    )  # fmt: skip
    selection = select_sites(built(config), "all-linear")
    assert selection.left_out["model.layers.0.mlp.up_proj"] == RENAMED
    assert last_names(selection.sites).isdisjoint({"gate_proj", "up_proj", "down_proj"})
    with pytest.raises(TargetError, match=r"layers\.0\.mlp\.up_proj' cannot be adapted"):
        select_sites(built(config), ["up_proj"])


def longformer() -> Any:
    fields = {**SMALL, "pad_token_id": 1}
    return built(LongformerConfig(**fields, attention_window=8), "AutoModel")


def test_site_that_no_probe_text_reaches_is_left_out() -> None:
    selection = select_sites(longformer(), "all-linear")
    unreached = {name for name, reason in selection.left_out.items() if reason == UNREACHED}
    assert {"query_global", "key_global", "value_global"} <= last_names(unreached)
    assert last_names(selection.sites).isdisjoint({"query_global", "key_global", "value_global"})


def test_targets_that_no_probe_text_reaches_are_refused() -> None:
    with pytest.raises(TargetError, match=r"query_global: .* that a text reaches"):
        lora_model(longformer(), AdapterSpec(rank=4, targets=("query_global",)))


def test_recorded_sites_are_kept_even_if_no_probe_text_reaches_them() -> None:
    recorded = ["encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.query_global"]
    assert list(select_sites(longformer(), "all-linear", recorded).sites) == recorded


def test_recorded_site_that_cannot_be_adapted_is_refused_with_its_name() -> None:
    with pytest.raises(
        TargetError, match=r"adapts 'model\.layers\.0\.mlp\.experts', which is MixtralExperts"
    ):
        select_sites(built(MIXTURES["mixtral"]), "all-linear", ["model.layers.0.mlp.experts"])


def test_mamba_output_projection_is_left_out_since_its_kernels_bypass_it() -> None:
    config = MambaConfig(vocab_size=25, hidden_size=16, num_hidden_layers=1, state_size=4, eos_token_id=3)
    selection = select_sites(built(config), "all-linear")
    assert selection.left_out["backbone.layers.0.mixer.out_proj"] == MAMBA
    assert (
        selection.left_out["backbone.layers.0.mixer.dt_proj"] == UNREACHED
    )  # its weight is read without calling the module
    assert last_names(selection.sites) == {"in_proj", "x_proj"}


class Routing(nn.Linear):
    """A router that is a Linear and returns a tuple, as in Llama 4."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class Mixture(nn.Module):
    """A causal LM with Linear experts; this text reaches only the first expert."""

    def __init__(self) -> None:
        super().__init__()
        self.config = llama().config
        self.embed = nn.Embedding(25, 8)
        self.router = Routing(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.unused = nn.ModuleDict({"de": nn.Linear(8, 8), "en": nn.Linear(8, 8)})

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids)
        scores, _ = self.router(x)
        return self.unused["en"](self.experts[0](x)) * scores.sum()


def test_linear_experts_are_sites_even_if_the_probe_text_does_not_reach_them() -> None:
    selection = select_sites(Mixture(), "all-linear")
    assert selection.sites == ("experts.0", "experts.1", "experts.2", "unused.en")
    assert selection.left_out["unused.de"] == UNREACHED


def test_router_that_returns_a_tuple_is_not_a_site() -> None:
    assert select_sites(Mixture(), "all-linear").left_out["router"] == ROUTER
    with pytest.raises(TargetError, match="'router' cannot be adapted"):
        select_sites(Mixture(), ["router"])


def test_model_that_cannot_read_token_ids_alone_is_refused_in_one_line() -> None:
    class Broken(Mixture):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            raise RuntimeError("pixels are missing\nmore")

    with pytest.raises(ModelError, match="pixels are missing") as caught:
        select_sites(Broken(), "all-linear")
    assert "\n" not in str(caught.value)


def test_selecting_sites_keeps_the_random_state_and_the_model_mode() -> None:
    model, before = llama().train(), torch.random.get_rng_state()
    model.model.layers[0].eval()
    select_sites(model, "all-linear")
    assert torch.equal(before, torch.random.get_rng_state())
    assert (model.training, model.model.layers[0].training, model.lm_head.training) == (True, False, True)


@pytest.mark.parametrize(("model", "flattens"), [(llama, False), (gpt2, False), (opt, True)])
def test_site_that_flattens_the_tokens_of_all_texts_is_recognised(model: Any, flattens: bool) -> None:
    base = model()
    linears = {name: base.get_submodule(name) for name in select_sites(base, "all-linear").sites}
    assert bool(record_calls(base, linears).flattened) == flattens


def test_site_report_shows_the_share_of_weights_and_the_omitted_modules() -> None:
    adapted, left_out = describe_sites(select_sites(built(MIXTURES["mixtral"]), "all-linear"))
    assert adapted.startswith("adapter: 8 sites (")
    assert "self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj ×2" in adapted
    assert left_out.startswith("not adapted: fused experts (7")
    assert "mlp.experts ×2" in left_out
    assert "routers (" in left_out
