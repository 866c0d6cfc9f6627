"""Only the task's settings control decoding; the model determines only the end tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from lori_cl.errors import ModelError
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.decoding import end_token_ids
from tests.nightly import only_in_ci

from .task_files import code, generation, safety
from .tiny_models import WORDS, llama, word_tokenizer

PROMPTS = ["a b c d e f", "g", "h a"]
EXAMPLES = [Example(i, prompt, "good") for i, prompt in enumerate(PROMPTS)]
TASKS = {
    "generation": generation(max_new_tokens=5),
    "stop": generation(max_new_tokens=5, stop=["zzz"]),
    "sampling": generation(max_new_tokens=5, temperature=1.5, samples=2),
    "code": code(max_new_tokens=5),
    "safety": safety(max_new_tokens=5),
}
END = frozenset({"eos_token_id", "_from_model_config", "transformers_version"})
"""The end tokens, and what is no setting."""
HOSTILE: tuple[Any, ...] = (True, 2, [5], {"cache": 1})
FIELDS = sorted(vars(GenerationConfig()).keys() - END)
LEAKS = {
    "guidance_scale": 1.5,
    "forced_eos_token_id": 5,
    "exponential_decay_length_penalty": [1, 5.0],
    "max_time": 1e-6,
    "return_dict_in_generate": True,
    "prompt_lookup_num_tokens": 3,
    "stop_strings": ["good"],
    "penalty_alpha": 0.6,
    "top_k": 4,
    "suppress_tokens": list(range(4, 15)),
    "sequence_bias": [[[15], 50.0]],
    "bad_words_ids": [[4], [5]],
    "min_new_tokens": 5,
    "num_beams": 3,
    "num_return_sequences": 2,
    "repetition_penalty": 3.0,
    "max_length": 7,
    "do_sample": True,
    "use_cache": False,
    "cache_implementation": "static",
    "watermarking_config": {"bias": 20.0},
    "renormalize_logits": True,
}
REFUSED = frozenset({"suppress_tokens", "num_return_sequences", "cache_implementation", "num_beams"})
"""Values that transformers refuses to load, in addition to the others."""


def answered(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str = "generation") -> Any:
    task = TASKS[name]
    return kind_of(task).answers(task, model, tokenizer, EXAMPLES, 32)


@pytest.mark.parametrize("name", only_in_ci(["generation"], TASKS))
def test_generation_config_of_the_model_does_not_change_answers(
    name: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = llama()
    expected = answered(model, tokenizer, name)
    fields = FIELDS if name == "generation" else LEAKS
    for field in fields:
        for value in (LEAKS[field],) if field in LEAKS else HOSTILE:
            before = getattr(model.generation_config, field)
            setattr(model.generation_config, field, value)
            assert answered(model, tokenizer, name) == expected, (field, value)
            setattr(model.generation_config, field, before)


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_generation_settings_in_model_files_do_not_change_answers(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, file: str
) -> None:
    llama().save_pretrained(tmp_path)
    expected = answered(llama(), tokenizer)
    if file == "config.json":  # older models store them here
        (tmp_path / "generation_config.json").unlink()
    record = json.loads((tmp_path / file).read_text())
    leaks = {key: value for key, value in LEAKS.items() if key not in REFUSED}
    (tmp_path / file).write_text(json.dumps({**record, **leaks}))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.generation_config.guidance_scale == 1.5
    assert answered(model, tokenizer) == expected


def in_generation_config(model: PreTrainedModel, ids: Any) -> None:
    model.generation_config.eos_token_id = ids


def in_config(model: PreTrainedModel, ids: Any) -> None:
    model.config.eos_token_id = ids


PLACES = [in_generation_config, in_config]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["generation", "stop", "sampling", "code", "safety"])
def test_every_end_token_of_the_model_ends_an_answer(
    name: str, place: Callable[..., None], tokenizer: PreTrainedTokenizerFast
) -> None:
    model = llama()
    full_answers = answered(model, tokenizer, name)
    end = next(words[1] for words in map(str.split, full_answers) if len(set(words)) > 1)
    place(model, [WORDS.index("[EOS]"), WORDS.index(end)])
    assert answered(model, tokenizer, name) == [before(text, end) for text in full_answers]


def before(text: str, end: str) -> str:
    words = text.split()
    return " ".join(words[: words.index(end)] if end in words else words)


def test_end_token_is_not_part_of_the_answer_even_if_not_special() -> None:
    tokenizer, model = word_tokenizer(), llama()
    full_answers = answered(model, tokenizer)
    end = full_answers[0].split()[0]
    assert end not in tokenizer.all_special_tokens
    model.generation_config.eos_token_id = WORDS.index(end)
    assert answered(model, tokenizer)[0] == ""


def test_end_tokens_come_from_the_model_files_and_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    model = llama()
    model.generation_config.eos_token_id = [3, 7]
    model.config.eos_token_id = 9
    assert end_token_ids(model, tokenizer) == [3, 7, 9]
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    assert end_token_ids(model, tokenizer) == [3]


@pytest.mark.parametrize("value", ["</s>", [3, "x"], 2.5, [True]])
def test_invalid_end_token_id_is_refused(value: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    model = llama()
    model.generation_config.eos_token_id = value
    with pytest.raises(
        ModelError, match=r"generation_config.json sets eos_token_id to .* must be a token id"
    ):
        end_token_ids(model, tokenizer)


def test_greedy_decoding_picks_the_most_likely_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    model = llama()
    ids = [WORDS.index(word) for word in PROMPTS[0].split()]
    with torch.no_grad():
        for _ in range(5):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if WORDS[ids[-1]] == "[EOS]":
                break
    written = [WORDS[i] for i in ids[6:] if WORDS[i] not in tokenizer.all_special_tokens]
    assert answered(model, tokenizer)[0] == " ".join(written)
