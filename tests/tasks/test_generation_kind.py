from __future__ import annotations

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lori_cl.errors import DataError
from lori_cl.tasks import KINDS, Example
from lori_cl.tasks.kinds.base import Features

from .task_files import generation
from .tiny_models import WORDS, gpt2, llama, word_tokenizer

KIND = KINDS["generation"]
TASK = generation(max_new_tokens=6)
PROMPTS = ["a b c d e f", "g", "h a", "b c d", "e e e e e e e e e"]
EXAMPLES = [Example(i, prompt, "good") for i, prompt in enumerate(PROMPTS)]
PAD, EOS = WORDS.index("[PAD]"), WORDS.index("[EOS]")


@pytest.fixture(scope="module", params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return request.param()


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def features(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str, max_length: int = 32) -> Features:
    return KIND.features(TASK, tokenizer, Example(6, prompt, answer), max_length)


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: str, end: str = "[EOS]", max_new_tokens: int = 6) -> str:
    """Return the greedy continuation of a prompt, computed token by token."""
    words = prompt.split()
    for _ in range(max_new_tokens):
        logits = model(input_ids=torch.tensor([ids(" ".join(words))])).logits
        words.append(WORDS[logits[0, -1].argmax()])
        if words[-1] in {end, "[EOS]"}:  # the end tokens of the tokenizer and of the model config
            break
    hidden = {"[PAD]", "[UNK]", "[BOS]", "[EOS]", end}
    return " ".join(w for w in words[len(prompt.split()) :] if w not in hidden)


def test_loss_is_on_the_answer_and_its_end_token_only(tokenizer: PreTrainedTokenizerFast) -> None:
    found = features(tokenizer, "a b c", "good fine")
    assert found.fields["input_ids"] == [*ids("a b c good fine"), EOS]
    assert found.fields["labels"] == [-100, -100, -100, *ids("good fine"), EOS]
    assert not found.truncated


def test_prompt_is_truncated_from_the_left_and_the_answer_never(tokenizer: PreTrainedTokenizerFast) -> None:
    found = features(tokenizer, "a b c d e", "good fine", max_length=5)
    assert found.fields["input_ids"] == [*ids("d e good fine"), EOS]
    assert found.fields["labels"] == [-100, -100, *ids("good fine"), EOS]
    assert found.truncated


def test_example_of_exactly_max_length_is_not_truncated(tokenizer: PreTrainedTokenizerFast) -> None:
    found = features(tokenizer, "a b c", "good fine", max_length=6)
    assert len(found.fields["input_ids"]) == 6
    assert not found.truncated


def test_one_remaining_prompt_token_is_enough(tokenizer: PreTrainedTokenizerFast) -> None:
    found = features(tokenizer, "a b c", "good fine", max_length=4)
    assert found.fields["input_ids"] == [*ids("c good fine"), EOS]


@pytest.mark.parametrize("max_length", [3, 2])
def test_answer_without_room_for_the_prompt_is_refused_with_both_lengths(
    tokenizer: PreTrainedTokenizerFast, max_length: int
) -> None:
    words = f"^row 7: the answer has 3 tokens, but train.max_length is {max_length}; raise it above 3$"
    with pytest.raises(DataError, match=words):
        features(tokenizer, "a b c", "good fine", max_length)


def test_answer_gets_no_bos_token_even_if_the_tokenizer_adds_one(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "[BOS] $A", special_tokens=[("[BOS]", WORDS.index("[BOS]"))]
    )
    found = features(tokenizer, "a b", "good")
    assert found.fields["input_ids"] == [WORDS.index("[BOS]"), *ids("a b good"), EOS]
    assert found.fields["labels"] == [-100, -100, -100, *ids("good"), EOS]


def test_batch_is_padded_on_the_right_and_padding_is_excluded_from_the_loss(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    fields = [features(tokenizer, "a b", "good").fields, features(tokenizer, "c", "bad").fields]
    batch = KIND.collate(tokenizer, fields)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[*ids("a b good"), EOS], [*ids("c bad"), EOS, PAD]],
        "attention_mask": [[1, 1, 1, 1], [1, 1, 1, 0]],
        "labels": [[-100, -100, *ids("good"), EOS], [-100, *ids("bad"), EOS, -100]],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_collating_does_not_change_the_features(tokenizer: PreTrainedTokenizerFast) -> None:
    fields = [features(tokenizer, "a b", "good").fields, features(tokenizer, "c", "bad").fields]
    KIND.collate(tokenizer, fields)
    assert fields[1] == {"input_ids": [*ids("c bad"), EOS], "labels": [-100, *ids("bad"), EOS]}


@torch.no_grad()
def test_batch_loss_is_the_cross_entropy_of_the_answer_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = [("a b c", "good fine"), ("d", "bad")]
    batch = KIND.collate(tokenizer, [features(tokenizer, prompt, answer).fields for prompt, answer in pairs])
    token_losses = []
    for prompt, answer in pairs:
        target_ids = [*ids(answer), EOS]
        log_p = model(input_ids=torch.tensor([ids(prompt) + target_ids])).logits[0].log_softmax(dim=1)
        token_losses += [-log_p[len(ids(prompt)) - 1 + i, token] for i, token in enumerate(target_ids)]
    loss = KIND.learner(model, None)(**batch).loss
    torch.testing.assert_close(loss, torch.stack(token_losses).mean(), atol=1e-5, rtol=0)


def test_prompts_of_different_lengths_get_the_same_answers_in_a_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    answers = KIND.answers(TASK, model, tokenizer, EXAMPLES, 32)
    assert answers == [greedy(model, prompt) for prompt in PROMPTS]
    assert len(set(answers)) > 1


def test_answer_stops_at_its_end_token_while_others_continue(model: PreTrainedModel) -> None:
    full_answers = [greedy(model, prompt) for prompt in PROMPTS]
    end = next(answer.split()[1] for answer in full_answers if len(answer.split()) > 1)
    answers = KIND.answers(TASK, model, word_tokenizer(end), EXAMPLES, 32)
    assert answers == [greedy(model, prompt, end) for prompt in PROMPTS]
    assert answers != full_answers


def test_answer_has_at_most_max_new_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    short = KIND.answers(generation(max_new_tokens=2), model, tokenizer, EXAMPLES, 32)
    assert short == [greedy(model, prompt, max_new_tokens=2) for prompt in PROMPTS]
    assert short != [greedy(model, prompt) for prompt in PROMPTS]


def test_long_prompt_is_truncated_to_its_last_max_length_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    (answer,) = KIND.answers(TASK, model, tokenizer, EXAMPLES[:1], max_length=2)
    assert answer == greedy(model, "e f")
    assert answer != greedy(model, PROMPTS[0])


def test_answers_are_reproducible(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(1)
    first = KIND.answers(TASK, model, tokenizer, EXAMPLES, 32)
    torch.manual_seed(2)
    assert KIND.answers(TASK, model, tokenizer, EXAMPLES, 32) == first


def test_generation_settings_of_the_model_do_not_change_answers(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = llama()
    expected = [greedy(model, prompt) for prompt in PROMPTS]
    model.generation_config.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=3.0)
    assert KIND.answers(TASK, model, tokenizer, EXAMPLES, 32) == expected


def test_tokenizer_padding_side_does_not_change_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer.padding_side = "left"
    left = KIND.answers(TASK, model, tokenizer, EXAMPLES, 32)
    tokenizer.padding_side = "right"
    assert KIND.answers(TASK, model, tokenizer, EXAMPLES, 32) == left


@pytest.mark.parametrize(("max_length", "too_long"), [(9, 0), (8, 1), (2, 3), (1, 4)])
def test_prompts_longer_than_max_length_are_counted(
    tokenizer: PreTrainedTokenizerFast, max_length: int, too_long: int
) -> None:
    assert KIND.truncated(TASK, tokenizer, EXAMPLES, max_length) == too_long


def test_generation_task_needs_a_causal_language_model_and_no_head(model: PreTrainedModel) -> None:
    assert KIND.architecture == "causal-lm"
    assert KIND.head(TASK, 16, seed=0) is None
    assert KIND.learner(model, None) is model


def test_answer_is_cut_before_a_stop_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    full_answers = KIND.answers(TASK, model, tokenizer, EXAMPLES, 32)
    stop = next(words[1] for words in map(str.split, full_answers) if len(set(words)) > 1)
    found = KIND.answers(generation(max_new_tokens=6, stop=[stop]), model, tokenizer, EXAMPLES, 32)
    assert found == [text.partition(stop)[0].strip() for text in full_answers]
    assert found != full_answers
