from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import BertModel, PreTrainedTokenizerFast

from lori_cl.tasks import KINDS, Example
from lori_cl.tasks.kinds.classification import Classifier, read_texts
from lori_cl.tasks.kinds.pooling import mean_pooled

from .task_files import classification
from .tiny_models import WIDTH, WORDS, bert

KIND = KINDS["classification"]
TASK = classification(["negative", "positive"])
TEXTS = ["good", "bad poor awful", "a b c d e f", "fine great a b"]
EXAMPLES = [Example(i, text, TASK.labels[i % 2]) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def encoder() -> BertModel:
    return bert()


def batch_of(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> dict[str, torch.Tensor]:
    return KIND.collate(tokenizer, [KIND.features(TASK, tokenizer, e, 32).fields for e in examples])


def batch_of_texts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> dict[str, torch.Tensor]:
    return batch_of(tokenizer, [Example(i, text, "negative") for i, text in enumerate(texts)])


@torch.no_grad()
def pooled(encoder: BertModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return mean_pooled(encoder, batch["input_ids"], batch["attention_mask"])


def test_pooling_does_not_depend_on_padding_or_batch(
    encoder: BertModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    alone = torch.cat([pooled(encoder, batch_of(tokenizer, [e])) for e in EXAMPLES])
    batched = pooled(encoder, batch_of(tokenizer, EXAMPLES))
    torch.testing.assert_close(batched, alone, atol=1e-5, rtol=0)


def test_mean_pooling_ignores_padding_tokens(encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = batch_of(tokenizer, EXAMPLES[:2])
    with torch.no_grad():
        states = encoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    by_hand = torch.stack([states[0, 0], states[1].sum(dim=0) / 3])
    torch.testing.assert_close(pooled(encoder, batch), by_hand, atol=1e-6, rtol=0)


def test_mean_pooling_in_half_precision_counts_every_token() -> None:
    long = torch.ones(1, 301, dtype=torch.long)
    ones = SimpleNamespace(last_hidden_state=torch.ones(1, 301, 2, dtype=torch.bfloat16))
    assert mean_pooled(lambda **_: ones, long, long).tolist() == [[1.0, 1.0]]


def test_loss_is_the_mean_cross_entropy(encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
    learner = KIND.learner(encoder, KIND.head(TASK, WIDTH, seed=0))
    out = learner(**batch_of(tokenizer, EXAMPLES))
    chances = out["logits"].exp() / out["logits"].exp().sum(dim=1, keepdim=True)
    by_hand = -sum(chances[i, i % 2].log() for i in range(4)) / 4
    torch.testing.assert_close(out["loss"], by_hand)


def test_logits_are_the_head_applied_to_the_pooled_states(
    encoder: BertModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    head = KIND.head(TASK, WIDTH, seed=0)
    batch = batch_of(tokenizer, EXAMPLES)
    by_hand = pooled(encoder, batch) @ head.weight.T + head.bias
    torch.testing.assert_close(KIND.learner(encoder, head)(**batch)["logits"], by_hand)


def test_without_labels_there_is_no_loss(encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = batch_of(tokenizer, EXAMPLES)
    del batch["labels"]
    assert set(KIND.learner(encoder, KIND.head(TASK, WIDTH, seed=0))(**batch)) == {"logits"}


def test_loss_reaches_the_head_and_the_encoder(tokenizer: PreTrainedTokenizerFast) -> None:
    learner = KIND.learner(bert(), KIND.head(TASK, WIDTH, seed=0))
    learner(**batch_of(tokenizer, EXAMPLES))["loss"].backward()
    unreached = [name for name, p in learner.named_parameters() if p.grad is None or not p.grad.any()]
    # A key bias shifts all scores of one query equally, so softmax cancels it and its gradient is 0.
    assert [name for name in unreached if "key.bias" not in name] == []


def test_gradient_checkpointing_reaches_the_encoder() -> None:
    encoder = bert()
    Classifier(encoder, nn.Identity()).gradient_checkpointing_enable()
    assert any(getattr(module, "gradient_checkpointing", False) for module in encoder.modules())


def test_head_initialisation_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = KIND.head(TASK, WIDTH, seed=5).state_dict()
    torch.manual_seed(2)
    second = KIND.head(TASK, WIDTH, seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in ("weight", "bias"))


def test_different_seeds_give_different_heads() -> None:
    assert not torch.equal(KIND.head(TASK, WIDTH, seed=5).weight, KIND.head(TASK, WIDTH, seed=6).weight)


def test_head_has_one_row_per_label_within_the_init_range_of_torch_linear() -> None:
    head = KIND.head(classification([str(i) for i in range(50)]), 100, seed=0)
    assert (head.weight.shape, head.bias.shape) == ((50, 100), (50,))
    assert 0.099 < head.weight.abs().max() <= 1 / math.sqrt(100)
    assert abs(head.weight.mean()) < 0.01
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_drawing_a_head_leaves_the_global_torch_generator_unchanged() -> None:
    before = torch.get_rng_state()
    KIND.head(TASK, WIDTH, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_zero_shot_head_rows_are_the_unit_vectors_of_the_label_words(
    encoder: BertModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    head = KIND.zero_shot_head(TASK, encoder, tokenizer)
    vectors = pooled(encoder, batch_of_texts(tokenizer, list(TASK.labels)))
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(head.weight.detach(), vectors / vectors.norm(dim=1, keepdim=True))
    assert head.bias is None


def test_zero_shot_head_predicts_the_label_with_the_highest_cosine(
    encoder: BertModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    task = classification(["negative", "positive", "good", "a b c"])
    learner = KIND.learner(encoder, KIND.zero_shot_head(task, encoder, tokenizer))
    examples = [Example(i, word, word) for i, word in enumerate([*task.labels, *WORDS[12:]])]
    vectors = pooled(encoder, batch_of_texts(tokenizer, [e.text for e in examples]))
    labels = pooled(encoder, batch_of_texts(tokenizer, list(task.labels)))
    nearest = torch.cosine_similarity(vectors[:, None], labels[None], dim=2).argmax(dim=1).tolist()
    answers = KIND.answers(task, learner, tokenizer, examples, 32)
    assert answers == [task.labels[i] for i in nearest]
    assert answers[:4] == list(task.labels)
    assert len(set(answers[4:])) > 1


@pytest.mark.parametrize("training", [True, False])
def test_zero_shot_head_is_built_without_dropout_and_keeps_the_model_mode(
    tokenizer: PreTrainedTokenizerFast, training: bool
) -> None:
    model = bert().train(training)
    first, second = (KIND.zero_shot_head(TASK, model, tokenizer).weight for _ in range(2))
    assert torch.equal(first, second)
    assert model.training is training


def test_zero_shot_head_leaves_the_global_torch_generator_unchanged(
    encoder: BertModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    before = torch.get_rng_state()
    KIND.zero_shot_head(TASK, encoder, tokenizer)
    assert torch.equal(torch.get_rng_state(), before)


def test_ties_go_to_the_first_declared_label(encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
    task = classification(["negative", "positive", "neutral"])
    head = nn.Linear(WIDTH, 3)
    nn.init.zeros_(head.weight)
    head.bias = nn.Parameter(torch.tensor([0.0, 1.0, 1.0]))
    answers = KIND.answers(task, KIND.learner(encoder, head), tokenizer, EXAMPLES, 32)
    assert answers == ["positive"] * 4


@torch.no_grad()
def test_answers_do_not_depend_on_the_batch(encoder: BertModel, tokenizer: PreTrainedTokenizerFast) -> None:
    examples = [Example(i, " ".join(WORDS[4 : 5 + i]), "negative") for i in range(15)]
    learner = KIND.learner(encoder, KIND.zero_shot_head(TASK, encoder, tokenizer))
    batched = KIND.answers(TASK, learner, tokenizer, examples, 32)
    assert batched == [KIND.answers(TASK, learner, tokenizer, [e], 32)[0] for e in examples]
    assert set(batched) == set(TASK.labels)


@torch.no_grad()
def test_only_the_first_max_length_tokens_decide_the_prediction(
    encoder: BertModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    learner = KIND.learner(encoder, KIND.zero_shot_head(TASK, encoder, tokenizer))
    long = [Example(i, f"{word} a b c d e f g h", "negative") for i, word in enumerate(TASK.labels)]
    assert KIND.answers(TASK, learner, tokenizer, long, max_length=1) == list(TASK.labels)


def test_long_text_is_truncated_at_its_end(tokenizer: PreTrainedTokenizerFast) -> None:
    features = KIND.features(TASK, tokenizer, Example(0, "good bad a b", "positive"), max_length=2)
    assert features.fields == {"input_ids": [WORDS.index("good"), WORDS.index("bad")], "labels": 1}
    assert features.truncated


def test_text_of_exactly_max_length_is_not_truncated(tokenizer: PreTrainedTokenizerFast) -> None:
    features = KIND.features(TASK, tokenizer, Example(0, "good bad a b", "positive"), max_length=4)
    assert len(features.fields["input_ids"]) == 4
    assert not features.truncated


@pytest.mark.parametrize(("max_length", "too_long"), [(6, 0), (5, 1), (3, 2), (2, 3)])
def test_texts_longer_than_max_length_are_counted(
    tokenizer: PreTrainedTokenizerFast, max_length: int, too_long: int
) -> None:
    assert KIND.truncated(TASK, tokenizer, EXAMPLES, max_length) == too_long
    cut = [KIND.features(TASK, tokenizer, e, max_length).truncated for e in EXAMPLES]
    assert sum(cut) == too_long


def test_batch_has_an_attention_mask_and_label_indices(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    batch = batch_of(tokenizer, EXAMPLES[:2])
    good, bad, poor, awful = (WORDS.index(word) for word in ("good", "bad", "poor", "awful"))
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[good, 0, 0], [bad, poor, awful]],
        "attention_mask": [[1, 0, 0], [1, 1, 1]],
        "labels": [0, 1],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_padding_is_on_the_right_whatever_the_tokenizer_config(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.padding_side = "left"
    assert batch_of(tokenizer, EXAMPLES[:2])["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    read = read_texts(tokenizer, [example.text for example in EXAMPLES[:2]], 8, "cpu")
    assert read["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]


def test_classification_task_needs_an_encoder() -> None:
    assert KIND.architecture == "encoder"
