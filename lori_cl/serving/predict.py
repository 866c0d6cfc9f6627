"""Answers to new texts: each by its own task's cells, several tasks in one batch where that can be."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lori_cl.adapters import add_adapter, lora_layers, record_calls
from lori_cl.errors import LoriError
from lori_cl.serving.asked import Asked, example_of
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.classification import read_texts
from lori_cl.tasks.kinds.pooling import mean_pooled
from lori_cl.training import LoadedRun
from lori_cl.training.evaluate import Question

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """One answer."""

    task: str
    answer: str
    scores: Mapping[str, float] | None = None
    """By label, the softmax of a classification head's logits."""
    truncated: bool = False
    """Whether the row was too long to be read whole."""


def answered(predictor: Predictor, asked: Sequence[Asked], batch_size: int) -> Iterator[dict[str, Any]]:
    """Each row as `input`, with its task and answer beside it, as JSON values, in order.

    A row that was cut says so, and at the end a warning counts them.
    """
    cut = []
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        for each, found in zip(batch, predictor.answer(batch), strict=True):
            record: dict[str, Any] = {"input": dict(each.row), "task": found.task, "answer": found.answer}
            if found.scores is not None:
                record["scores"] = dict(found.scores)
            if found.truncated:
                record["truncated"] = True
                cut.append(each.where)
            yield record
    if cut:
        told = f"{len(cut):,} of {len(asked):,}, the first is {cut[0]}"
        log.warning("longer than the run reads (train.max_length), so answered from a part: %s", told)


class Predictor:
    """The adapter of every task that is asked for, side by side in one model."""

    def __init__(self, loaded: LoadedRun) -> None:
        self._loaded = loaded
        self._questions = {question.label: question for question in loaded.questions}
        self._heads = {memory.learned.task: memory.head for memory in loaded.history}
        self._adapters: dict[str, str] = {}
        self._mixes = _mixes_adapters(loaded.model)

    def answer(self, asked: Sequence[Asked]) -> list[Prediction]:
        """Answer one batch, in its order.

        Raises: DataError, if a row lacks what its task reads.
        """
        examples = [example_of(self._questions[each.task].spec, each) for each in asked]
        for task in dict.fromkeys(each.task for each in asked):
            self._join(task)
        answers: dict[int, Prediction] = {}
        with torch.inference_mode():
            for positions in self._batches(asked):
                rows = [(asked[i].task, examples[i]) for i in positions]
                answers |= dict(zip(positions, self._answer_together(rows), strict=True))
        cut = [self._cut(each.task, example) for each, example in zip(asked, examples, strict=True)]
        return [replace(answers[i], truncated=cut[i]) for i in range(len(asked))]

    def _cut(self, task: str, example: Example) -> bool:
        """Whether its task reads only a part of the example."""
        return self._questions[task].truncated(self._loaded.base.tokenizer, [example]) > 0

    def _join(self, task: str) -> None:
        """Put the task's own adapter into the model, when it is first asked for."""
        if task not in self._adapters:
            self._adapters[task] = f"task{len(self._adapters)}"
            weights = self._loaded.weights(self._loaded.acting(task))
            add_adapter(self._loaded.model, self._adapters[task], weights)
            self._loaded.model.eval()

    def _batches(self, asked: Sequence[Asked]) -> Iterator[list[int]]:
        """Positions that one pass can answer: headed tasks all together, others by how they decode; each
        task alone where the model cannot mix adapters, and each text where padding changes answers."""
        if not self._loaded.base.ignores_padding:
            yield from ([position] for position in range(len(asked)))
            return
        groups: dict[Any, list[int]] = {}
        for position, each in enumerate(asked):
            spec = self._questions[each.task].spec
            key = "heads" if self._heads[each.task] is not None else kind_of(spec).decoding(spec)
            groups.setdefault((key or each.task) if self._mixes else each.task, []).append(position)
        yield from groups.values()

    def _answer_together(self, rows: Sequence[tuple[str, Example]]) -> list[Prediction]:
        tasks = [task for task, _ in rows]
        learner = self._learner([self._adapters[task] for task in tasks])
        if self._heads[tasks[0]] is not None:
            return self._classify(rows, learner)
        question = self._questions[tasks[0]]
        answers = kind_of(question.spec).answers(
            question.spec, learner, self._loaded.base.tokenizer, [e for _, e in rows], question.max_length
        )
        return [Prediction(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    def _learner(self, names: Sequence[str]) -> Any:
        """The model with each row of the next batch under its own adapter."""
        if self._mixes:
            return _RowByRow(self._loaded.model, names)
        assert len(set(names)) == 1, "a model that cannot mix adapters is asked task by task"
        self._loaded.model.set_adapter(names[0])
        self._loaded.model.requires_grad_(False)
        return self._loaded.model

    def _classify(self, rows: Sequence[tuple[str, Example]], learner: nn.Module) -> list[Prediction]:
        longest = max(self._questions[task].max_length for task, _ in rows)
        texts = [example.text for _, example in rows]
        batch = read_texts(self._loaded.base.tokenizer, texts, longest, self._loaded.model.device)
        pooled = mean_pooled(learner, **batch)  # (B, d)
        return [
            self._by_head(self._questions[task], state) for (task, _), state in zip(rows, pooled, strict=True)
        ]

    def _by_head(self, question: Question, state: torch.Tensor) -> Prediction:
        head = self._heads[question.label]
        assert head is not None, "a classification task has a head"
        shares = head(state).softmax(dim=0)  # (labels,)
        if not bool(shares.isfinite().all()):
            raise LoriError(
                f"task '{question.label}': the model's logits are not finite, so they answer nothing"
            )
        labels = question.spec.labels
        scores = dict(zip(labels, shares.tolist(), strict=True))
        return Prediction(question.label, labels[int(shares.argmax())], scores)


def _mixes_adapters(model: Any) -> bool:
    """Whether every site sees a batch's rows on its first axis, as PEFT's mixed batches need it.

    OPT's MLPs, experts and Longformer's attention see the tokens of all rows as one list.
    """
    return not record_calls(model, lora_layers(model)).flattened


class _RowByRow(nn.Module):
    """The model, each row of the next batch under an adapter of its own: PEFT's mixed batches."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self._model = [model]  # no child: nothing is moved or switched with this wrapper
        self._names = list(names)

    @property
    def device(self) -> torch.device:
        """Where the model stands."""
        device: torch.device = self._model[0].device
        return device

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._model[0].config

    @property
    def generation_config(self) -> Any:
        """Where the model names its end tokens."""
        return self._model[0].generation_config

    def forward(self, **inputs: Any) -> Any:
        """One pass; where a prompt's choices are rows of their own, all rows are of one task."""
        rows = inputs["input_ids"].shape[0]
        same = len(set(self._names)) == 1
        assert same or rows == len(self._names), "rows of several tasks were multiplied"
        return self._model[0](**inputs, adapter_names=self._names[:1] * rows if same else self._names)

    def get_base_model(self) -> Any:
        """The model without its adapters, as PEFT calls it."""
        return self._model[0].get_base_model()

    def generate(self, **inputs: Any) -> Any:
        """Decode."""
        return self._model[0].generate(**inputs, adapter_names=self._names)
