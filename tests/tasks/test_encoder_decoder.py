"""Prompts answered by encoder-decoder models: T5, and BART, whose tokenizer begins a text with [BOS]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lori_cl.errors import DataError
from lori_cl.models.base_model import load_base
from lori_cl.spec import ModelSpec
from lori_cl.tasks import KINDS, Example, kind_of, pooled_states
from lori_cl.tasks.kinds.decoding import end_token_ids
from lori_cl.tasks.kinds.likelihood import choice_scores

from .task_files import classification, generation, multiple_choice

KIND = KINDS["generation"]
TASK = generation(max_new_tokens=5)
PROMPTS = ["it is red", "blue", "is it wet red dry round", "small large flat", "dry", "green", "it", "is it"]
EXAMPLES = [Example(i, prompt, "blue red") for i, prompt in enumerate(PROMPTS)]
LABELS = ["red", "blue green", "wet dry flat"]


@dataclass(frozen=True)
class Base:
    model: Any
    tokenizer: Any
    starts: list[int]
    """The decoder's tokens before an answer."""
    begins: list[int]
    """The special tokens before a prompt; its end token is 2."""

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.convert_tokens_to_ids(text.split())
        return found

    def logits(self, prompt: list[int], decoder: list[int]) -> torch.Tensor:
        """Return the logits of one sequence without padding: (tokens, vocabulary)."""
        ids = torch.tensor([prompt])
        logits: torch.Tensor = self.model(input_ids=ids, decoder_input_ids=torch.tensor([decoder])).logits
        return logits[0]


@pytest.fixture(scope="module", params=["t5", "bart"])
def base(request: pytest.FixtureRequest) -> Base:
    folder: Path = request.getfixturevalue(f"tiny_{request.param}")
    loaded = load_base(ModelSpec(path=str(folder)), "causal-lm")
    starts, begins = ([0], []) if request.param == "t5" else ([2, 3], [3])
    torch.manual_seed(0)
    with torch.no_grad():  # the output embeddings are tied, so a T5 as initialised repeats its input
        for parameter in [*loaded.model.get_decoder().parameters(), *loaded.model.get_encoder().parameters()]:
            if parameter.dim() > 1 and parameter is not loaded.model.get_input_embeddings().weight:
                parameter.normal_()
    return Base(loaded.model.eval(), loaded.tokenizer, starts, begins)


def fields(base: Base, prompt: str, answer: str, max_length: int = 32) -> dict[str, list[int]]:
    return KIND.features(TASK, base.tokenizer, Example(6, prompt, answer), max_length).fields


def test_encoder_reads_the_prompt_and_decoder_the_answer(base: Base) -> None:
    answer = [*base.ids("blue red"), 2]
    assert fields(base, "it is", "blue red") == {
        "input_ids": [*base.begins, *base.ids("it is"), 2],
        "decoder_input_ids": [*base.starts, *answer[:-1]],
        "labels": [-100] * (len(base.starts) - 1) + answer,
    }


def test_answer_takes_no_room_from_the_prompt_and_a_cut_prompt_keeps_its_special_tokens(base: Base) -> None:
    length = len(base.begins) + 3
    found = KIND.features(TASK, base.tokenizer, Example(0, "it is red wet", "blue red"), length)
    assert found.fields["input_ids"] == [*base.begins, *base.ids("red wet"), 2]
    assert found.truncated
    assert not KIND.features(TASK, base.tokenizer, Example(0, "red wet", "blue red"), length).truncated


def test_answer_longer_than_max_length_is_refused_with_both_lengths(base: Base) -> None:
    needed = len(base.starts) + 2
    words = f"^row 7: the decoder reads {needed} tokens for the answer, but train.max_length is 2; raise it"
    with pytest.raises(DataError, match=words):
        fields(base, "it", "blue red", max_length=2)


def test_prompt_without_room_beside_its_special_tokens_is_refused(base: Base) -> None:
    with pytest.raises(
        DataError, match=r"^row 1: 1 tokens are left for the prompt, but its special tokens alone need"
    ):
        KIND.prompt_tokens(TASK, base.tokenizer, EXAMPLES[0], 1)


@torch.no_grad()
def test_loss_is_the_cross_entropy_of_the_answer_tokens(base: Base) -> None:
    pairs = [("it is red", "blue red"), ("wet", "green")]
    losses = []
    for prompt, answer in pairs:
        target = [*base.ids(answer), 2]
        log_p = base.logits([*base.begins, *base.ids(prompt), 2], [*base.starts, *target[:-1]]).log_softmax(
            dim=1
        )
        losses += [-log_p[len(base.starts) - 1 + i, token] for i, token in enumerate(target)]
    batch = KIND.collate(base.tokenizer, [fields(base, *pair) for pair in pairs])
    loss = KIND.learner(base.model, None)(**batch).loss
    torch.testing.assert_close(loss, torch.stack(losses).mean(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_loss_equals_the_loss_of_transformers_for_the_same_labels(tiny_t5: Path) -> None:
    loaded = load_base(ModelSpec(path=str(tiny_t5)), "causal-lm")
    examples = [Example(0, "it is red", "blue red"), Example(1, "wet", "green")]
    features = [KIND.features(TASK, loaded.tokenizer, e, 32).fields for e in examples]
    batch = KIND.collate(loaded.tokenizer, features)
    read = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    model = loaded.model.eval()
    torch.testing.assert_close(model(**batch).loss, model(**read).loss, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_likelihood_of_a_label_is_the_sum_of_its_token_log_probabilities(base: Base) -> None:
    prompts = [[*base.begins, *base.ids(prompt), 2] for prompt in PROMPTS]
    labels = [base.ids(label) for label in LABELS]
    found = choice_scores(base.model, base.tokenizer, prompts, [labels] * len(prompts))
    for prompt, scores in zip(prompts, found, strict=True):
        for label, score in zip(labels, scores.tolist(), strict=True):
            log_p = base.logits(prompt, [*base.starts, *label[:-1]]).log_softmax(dim=1)
            by_hand = sum(float(log_p[len(base.starts) - 1 + i, token]) for i, token in enumerate(label))
            assert score == pytest.approx(by_hand, abs=1e-4)


@torch.inference_mode()
def test_labels_of_one_token_need_one_forward_pass(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, labels = [*base.ids("it is"), 2], [base.ids("red"), base.ids("blue")]
    by_hand = base.logits(prompt, base.starts)[-1].log_softmax(dim=0)
    calls = []
    hook = base.model.register_forward_hook(lambda *_: calls.append(1))
    (found,) = choice_scores(base.model, base.tokenizer, [prompt], [labels])
    hook.remove()
    assert found.tolist() == pytest.approx([float(by_hand[label[0]]) for label in labels], abs=1e-5)
    assert len(calls) == 1


@torch.inference_mode()
def test_classification_answers_with_the_most_likely_label(base: Base) -> None:
    task = classification(
        labels=["red", "blue"], prompt="{{ text }}", label_words=LABELS[:2], normalise="none"
    )
    kind = kind_of(task)
    answers = kind.answers(task, base.model, base.tokenizer, EXAMPLES, 32)
    for example, answer in zip(EXAMPLES, answers, strict=True):
        prompt = [*base.begins, *base.ids(example.text), 2]
        (scores,) = choice_scores(base.model, base.tokenizer, [prompt], [[base.ids(w) for w in LABELS[:2]]])
        assert answer == task.labels[int(scores.argmax())]


@torch.inference_mode()
def test_answers_are_greedy_and_the_same_in_every_batch(base: Base) -> None:
    ends = end_token_ids(base.model, base.tokenizer)
    by_hand = []
    for example in EXAMPLES:
        prompt, written = [*base.begins, *base.ids(example.text), 2], list(base.starts)
        for _ in range(TASK.max_new_tokens):
            written.append(int(base.logits(prompt, written)[-1].argmax()))
            if written[-1] in ends:
                break
        by_hand.append(base.tokenizer.decode(written[len(base.starts) :], skip_special_tokens=True).strip())
    batch = KIND.answers(TASK, base.model, base.tokenizer, EXAMPLES, 32)
    alone = [KIND.answers(TASK, base.model, base.tokenizer, [e], 32)[0] for e in EXAMPLES]
    assert batch == alone == by_hand
    assert len(set(batch)) > 1


def test_choices_take_no_room_from_the_prompt(base: Base) -> None:
    task = multiple_choice()
    kind, choices = kind_of(task), ("wet dry", "flat")
    example = Example(0, "it is", "flat", choices)
    length = len(base.begins) + 3
    assert kind.prompt_tokens(task, base.tokenizer, example, length) == [*base.begins, *base.ids("it is"), 2]
    assert kind.truncated(task, base.tokenizer, [example], length) == 0
    assert kind.truncated(task, base.tokenizer, [example], length - 1) == 1


def test_routing_features_are_the_mean_of_the_encoder_states(base: Base) -> None:
    prompts = [[*base.ids(prompt), 2] for prompt in PROMPTS]
    batch = pooled_states(base.model, base.tokenizer.pad_token_id, prompts)
    for row, prompt in zip(batch, prompts, strict=True):
        with torch.no_grad():
            states = base.model.get_encoder()(input_ids=torch.tensor([prompt])).last_hidden_state[0]
        torch.testing.assert_close(row, states.mean(dim=0), atol=1e-5, rtol=0)


def test_chat_without_a_chat_template_is_refused_in_one_line(base: Base) -> None:
    with pytest.raises(
        DataError, match=r"^task 'sums' sets chat: true, but .* has no chat template; [^\n]*$"
    ):
        KIND.prompt_tokens(generation(chat=True), base.tokenizer, EXAMPLES[0], 32)


def test_more_new_tokens_than_the_decoder_reads_are_refused() -> None:
    assert KIND.encoder_length(generation(max_new_tokens=31), 16, 32) == 16
    with pytest.raises(DataError, match="max_new_tokens is 32, but the model's decoder reads 32 tokens"):
        KIND.encoder_length(generation(max_new_tokens=32), 16, 32)


def test_all_samples_of_a_batch_equal_those_that_are_drawn_one_by_one(base: Base) -> None:
    task = generation(max_new_tokens=5, temperature=1.0, samples=2)
    one_by_one = [KIND.answers(task, base.model, base.tokenizer, EXAMPLES, 16, sample=s) for s in range(2)]
    read: list[object] = []
    hook = base.model.get_encoder().register_forward_hook(lambda *_: read.append(None))
    together = KIND.answer_samples(task, base.model, base.tokenizer, EXAMPLES, 16)
    hook.remove()
    assert [list(samples) for samples in zip(*together, strict=True)] == one_by_one
    assert len(read) == 1
