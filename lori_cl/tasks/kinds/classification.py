"""`classification`: one label per text; an encoder's mean state is the input of the task's own linear head.

name: agnews
kind: classification
source: {local: agnews}
columns: {text: text, label: label}       # text may be a template over columns: "{{ title }}: {{ body }}"
labels: [World, Sports, Business, Science or Technology]
                                          # or a mapping from the column's values: {1: World, 2: Sports, …}
metric: accuracy                          # or f1_macro, matthews

With a `prompt`, a language model is used instead: label_likelihood.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn import functional

from lori_cl.errors import DataError, LoriError, suggestion
from lori_cl.model_traits import device_map_of, input_device
from lori_cl.spec import ClassificationSpec
from lori_cl.tasks.examples import Example
from lori_cl.tasks.kinds.base import Batch, Features, Kind, placeholders
from lori_cl.tasks.kinds.labels import check_positions, label_of
from lori_cl.tasks.kinds.likelihood import indistinguishable
from lori_cl.tasks.kinds.pooling import mean_pooled
from lori_cl.tasks.prompts import columns_read, is_template, only_column, render
from lori_cl.tasks.rows import Row, Rows, require_column


class Classifier(nn.Module):
    """encoder → mean over the tokens → head."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        if (device_map := device_map_of(encoder)) is not None:
            self.hf_device_map = device_map  # transformers.Trainer then moves no weight

    def forward(
        self,
        input_ids: Int64[Tensor, "B T"],
        attention_mask: Int64[Tensor, "B T"],
        labels: Int64[Tensor, "B"] | None = None,
    ) -> dict[str, Tensor]:
        """Return the logits (B, labels), and the mean cross-entropy if labels are given."""
        pooled = mean_pooled(self.encoder, input_ids, attention_mask)  # (B, d)
        logits = self.head(pooled)  # (B, labels)
        if labels is None:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}

    def gradient_checkpointing_enable(self, **kwargs: Any) -> None:
        """Enable gradient checkpointing in the encoder; the Trainer calls this method."""
        self.encoder.gradient_checkpointing_enable(**kwargs)  # type: ignore[operator]


class Classification(Kind):
    """Texts with one label each."""

    architecture = "encoder"

    def examples(self, task: ClassificationSpec, rows: Rows) -> list[Example]:
        """Read the text and check the label of every row."""
        if not is_template(task.columns.text):
            require_column(rows, task.columns.text, "columns.text")
        require_column(rows, task.columns.label, "columns.label")
        return rows.valid(
            lambda index, row, where: Example(
                index, _text(task, row, where), label_of(task, rows, row, where)
            )
        )

    def check_numbering(self, task: ClassificationSpec, splits: Sequence[Rows]) -> None:
        """Check labels that are given as positions."""
        check_positions(task, splits)

    def columns(self, task: ClassificationSpec, *, training: bool = False) -> set[str]:
        """Return the columns of the text and the label."""
        return {*_text_columns(task), task.columns.label}

    def input_example(self, task: ClassificationSpec, row: Row, where: str) -> Example:
        """Return an example with the text only."""
        return Example(0, _text(task, row, where), "")

    def text_column(self, task: ClassificationSpec) -> str | None:
        """Return `columns.text`, or the only column that its template reads."""
        text = task.columns.text
        return only_column(text) if is_template(text) else text

    def input_row(self, task: ClassificationSpec) -> dict[str, Any]:
        """Return a row with the columns of the text."""
        return placeholders(_text_columns(task))

    def features(
        self, task: ClassificationSpec, tokenizer: Any, example: Example, max_length: int
    ) -> Features:
        """Tokenize the text; a text that is too long is truncated at the end."""
        ids = tokenizer(example.text, truncation=False)["input_ids"]
        kept = self.prompt_tokens(task, tokenizer, example, max_length)
        label = task.labels.index(example.target)
        return Features({"input_ids": kept, "labels": label}, truncated=len(ids) > len(kept))

    def collate(self, tokenizer: Any, fields: Sequence[dict[str, Any]]) -> Batch:
        """Pad on the right, because encoders count positions from the left; ignore the tokenizer's padding
        side. Labels have shape (B,)."""
        ids = {"input_ids": [f["input_ids"] for f in fields]}
        padded = tokenizer.pad(ids, padding_side="right", return_tensors="pt")
        labels = torch.tensor([f["labels"] for f in fields])
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "labels": labels,
        }

    def learner(self, model: nn.Module, head: nn.Module | None) -> nn.Module:
        """Return the encoder with the task's head."""
        assert head is not None, "a classification task has a head"
        return Classifier(model, head)

    def prompt_tokens(
        self, task: ClassificationSpec, tokenizer: Any, example: Example, max_length: int
    ) -> list[int]:
        """Tokenize the text; a text that is too long is truncated at the end."""
        ids: list[int] = tokenizer(example.text, truncation=True, max_length=max_length)["input_ids"]
        return ids

    def shared_tokens(self, task: ClassificationSpec, tokenizer: Any) -> list[list[int]]:
        """Return the tokens of the labels, which the base model embeds for the zero-shot head."""
        ids: list[list[int]] = tokenizer(list(task.labels))["input_ids"]
        return ids

    def answers(
        self,
        task: ClassificationSpec,
        learner: nn.Module,
        tokenizer: Any,
        examples: Sequence[Example],
        max_length: int,
        sample: int = 0,
    ) -> list[str]:
        """Return the label with the largest logit; ties go to the first label."""
        device = input_device(learner)
        logits = learner(**read_texts(tokenizer, [e.text for e in examples], max_length, device))["logits"]
        if not logits.isfinite().all():
            raise LoriError(
                f"task '{task.name}': the model's logits are not finite; "
                "lower train.lr, or use another model.dtype"
            )
        return [task.labels[i] for i in logits.argmax(dim=1).tolist()]

    def label_warnings(self, task: ClassificationSpec, tokenizer: Any) -> list[str]:
        """Warn about labels with the same tokens; only the zero-shot score of row 0 depends on them."""
        tokens = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in task.labels]
        problem = indistinguishable(tokens, task.labels)
        return [] if problem is None else [f"labels {problem}, so row 0 (zero-shot) cannot distinguish them"]

    def head(self, task: ClassificationSpec, width: int, seed: int) -> nn.Module:  # type: ignore[override]
        """Return a Linear (labels, width), initialized like torch's, U(±1/√width), from the seed only."""
        generator = torch.Generator().manual_seed(seed)
        head = nn.Linear(width, len(task.labels), device="meta")
        bound = 1 / math.sqrt(width)
        for name, shape in (("weight", (len(task.labels), width)), ("bias", (len(task.labels),))):
            drawn = torch.empty(shape).uniform_(-bound, bound, generator=generator)
            setattr(head, name, nn.Parameter(drawn))
        return head

    @torch.no_grad()
    def zero_shot_head(
        self, task: ClassificationSpec, model: nn.Module, tokenizer: Any, *, one_by_one: bool = False
    ) -> nn.Module:
        """Return a head whose rows are the unit vectors of the label words: the nearest label by cosine wins.

        Source: Reimers & Gurevych 2019 for the mean-pooled sentence vector.
        """
        was_training = model.training
        model.eval()
        device = input_device(model)
        batches = [[label] for label in task.labels] if one_by_one else [task.labels]
        vectors = torch.cat([mean_pooled(model, **read_texts(tokenizer, b, None, device)) for b in batches])
        model.train(was_training)
        head = nn.Linear(
            vectors.shape[1], len(task.labels), bias=False, device="meta"
        )  # no random initialization
        head.weight = nn.Parameter(functional.normalize(vectors, dim=1))
        return head


def read_texts(tokenizer: Any, texts: Sequence[str], max_length: int | None, device: Any) -> Batch:
    """Tokenize texts for `mean_pooled`: padded on the right, truncated if `max_length` is given."""
    encoded = tokenizer(
        list(texts),
        truncation=max_length is not None,
        max_length=max_length,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    return {key: encoded[key].to(device) for key in ("input_ids", "attention_mask")}


def _text_columns(task: ClassificationSpec) -> set[str]:
    text = task.columns.text
    return columns_read(text) if is_template(text) else {text}


def _text(task: ClassificationSpec, row: Row, where: str) -> str:
    column = task.columns.text
    if not is_template(column) and column not in row:
        near = suggestion(column, row) or f" Columns: {', '.join(row)}."
        raise DataError(f"{where}: unknown column '{column}'.{near}")
    text = render(column, row, "columns.text", where) if is_template(column) else row[column]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: column '{column}' contains no text")
    return text
