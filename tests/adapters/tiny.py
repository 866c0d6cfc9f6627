"""Tiny models from configs, a batch for them, and helpers that train one stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from lori_cl.adapters import Bank, Cells, SparseAdapter, attach, lora_model
from lori_cl.spec import AdapterSpec

VOCABULARY = 48
SPEC = AdapterSpec(rank=4, alpha=8)

Masks = Mapping[str, Tensor]
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def llama(**settings: Any) -> LlamaForCausalLM:
    return seeded(
        LlamaForCausalLM,
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            **settings,
        ),
    )


def gpt2() -> GPT2LMHeadModel:
    """A model whose linear layers are Conv1D, with transposed weights."""
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return seeded(
        GPT2LMHeadModel,
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, **no_dropout, **ids
        ),
    )


def bert() -> BertForMaskedLM:
    return seeded(
        BertForMaskedLM,
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
    )


def opt() -> OPTForCausalLM:
    """A model whose MLPs flatten the tokens of all texts into one list."""
    return seeded(
        OPTForCausalLM,
        OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            word_embed_proj_dim=16,
            ffn_dim=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            dropout=0.0,
        ),
    )


MODELS: dict[str, Callable[[], Any]] = {"llama": llama, "gpt2": gpt2, "bert": bert}


def seeded(model: Callable[[Any], Any], config: Any) -> Any:
    torch.manual_seed(0)
    return model(config)


def batch(seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(seed))  # (B, T)


def adapted(
    base: nn.Module | None = None, spec: AdapterSpec = SPEC, seed: int = 0
) -> tuple[Any, SparseAdapter]:
    """A PeftModel with an attached adapter whose B is zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT flips fan_in_fan_out for Conv1D with a warning
        model = lora_model(llama() if base is None else base, spec)
    return model, attach(model, seed, spec.distribution)


def two_masks(adapter: SparseAdapter) -> tuple[Masks, Masks]:
    """Two disjoint masks with a third of the cells each; the last third stays free."""
    generator = torch.Generator().manual_seed(7)
    owners = {
        site.name: torch.randint(3, (site.out_features, site.rank), generator=generator)
        for site in adapter.sites
    }
    return tuple({site: owner == number for site, owner in owners.items()} for number in (0, 1))  # type: ignore[return-value]


def write_open_values(model: Any, seed: int = 3) -> None:
    """Write values into the open cells, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def trained_cells(adapter: SparseAdapter, masks: Masks) -> Cells:
    """Return the cells of the stage that was just trained, as they are stored."""
    return Cells(masks, adapter.opened())


def freeze(adapter: SparseAdapter, stages: Sequence[Cells]) -> None:
    """Activate exactly the cells of these stages under the attached A."""
    adapter.install([Bank(adapter.projections(), stages)])


def logits(model: Any, ids: Tensor | None = None) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=batch() if ids is None else ids).logits


def loss(model: Any, seed: int = 0) -> Tensor:
    ids = batch(seed)
    return model(input_ids=ids, labels=ids).loss


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-1, momentum=0.9, weight_decay=0.1)


def train(
    model: Any, steps: int, make: Optimizer = adamw, accumulate: int = 1, clip: float | None = None
) -> torch.optim.Optimizer:
    """Train every parameter of the model; base parameters are frozen and have no gradient."""
    model.train()
    optimizer = make(list(model.parameters()))
    for step in range(steps):
        for part in range(accumulate):
            (loss(model, seed=step * accumulate + part) / accumulate).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def lora_layers(model: nn.Module) -> list[LoraLayer]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]
