"""Sites of encoder-decoder models, and the inputs that they read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from lori_cl.adapters import lora_layers, lora_model, record_inputs, select_sites
from lori_cl.spec import AdapterSpec

LENGTHS = [(6, 6), (7, 4), (4, 7)]
"""Tokens of the prompt and of the decoder's input; with equal lengths, only the masks differ."""


@pytest.fixture(scope="module", params=["t5", "bart"])
def model(request: pytest.FixtureRequest) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(request.getfixturevalue(f"tiny_{request.param}")).eval()


@pytest.fixture
def adapted(model: Any) -> Any:
    wrapped = lora_model(model, AdapterSpec(rank=2, alpha=4)).eval()
    yield wrapped
    wrapped.unload()


def test_every_linear_of_encoder_and_decoder_is_adapted_but_no_head_or_embedding(model: Any) -> None:
    selection = select_sites(model, "all-linear")
    linears = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert set(selection.sites) == linears - {"lm_head"}
    cross = [s for s in selection.sites if "EncDecAttention" in s or "encoder_attn" in s]
    assert len(cross) == 4
    assert {site.split("coder.")[0].removeprefix("model.") for site in selection.sites} == {"en", "de"}
    assert selection.left_out["lm_head"] == "output head"


def moments(model: Any, **batch: Tensor) -> dict[str, Tensor]:
    with torch.no_grad(), record_inputs(model, lora_layers(model)) as found:
        model(**batch)
    return {site: found.sums[leader] for leader, sites in found.sites.items() for site in sites}


def drawn(length: int) -> Tensor:
    return torch.randint(3, 14, (2, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(("source", "target"), LENGTHS)
@pytest.mark.parametrize("from_labels", [False, True], ids=["mask", "labels"])
def test_padding_of_prompt_and_answer_is_excluded_from_moments(
    adapted: Any, source: int, target: int, from_labels: bool
) -> None:
    ids, decoder = drawn(source), drawn(target)
    mask, decoder_mask = torch.ones_like(ids), torch.ones_like(decoder)
    mask[1, 2:], decoder_mask[1, 3:] = 0, 0
    batch = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": decoder}
    if from_labels:
        labels = decoder.masked_fill(decoder_mask == 0, -100)
        padded = moments(adapted, **batch, labels=labels)
    else:
        padded = moments(adapted, **batch, decoder_attention_mask=decoder_mask)
    full = moments(adapted, input_ids=ids[:1], decoder_input_ids=decoder[:1])
    cut = moments(adapted, input_ids=ids[1:, :2], decoder_input_ids=decoder[1:, :3])
    assert padded.keys() == set(lora_layers(adapted))
    for site, moment in padded.items():
        torch.testing.assert_close(moment, full[site] + cut[site], rtol=1e-4, atol=1e-5)


def test_keys_and_values_of_the_cross_attention_share_the_moment_of_the_encoder_states(adapted: Any) -> None:
    ids, decoder = drawn(6), drawn(6)
    with torch.no_grad():
        states = adapted.get_encoder()(input_ids=ids)[0].double().flatten(0, 1)
        with record_inputs(adapted, lora_layers(adapted)) as found:
            adapted(input_ids=ids, decoder_input_ids=decoder)
    shared = [(leader, sites) for leader, sites in found.sites.items() if any("ncDec" in s for s in sites)]
    shared = shared or [
        (leader, s) for leader, s in found.sites.items() if any("encoder_attn" in n for n in s)
    ]
    leader, sites = next((leader, sites) for leader, sites in shared if len(sites) == 2)
    assert {site.rpartition(".")[2][0] for site in sites} == {"k", "v"}
    torch.testing.assert_close(found.sums[leader], states.T @ states, rtol=1e-4, atol=1e-5)
