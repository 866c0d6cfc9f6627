"""Predict answers for new texts with the adapters of their tasks; a batch can mix tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lori_cl.adapters import add_adapter, lora_layers, record_calls
from lori_cl.errors import LoriError
from lori_cl.evaluation import LoadedRun
from lori_cl.serving.requests import Request, read_example
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import Example, kind_of
from lori_cl.tasks.kinds.classification import read_texts
from lori_cl.tasks.kinds.pooling import mean_pooled

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """The predicted answer for one row."""

    task: str
    answer: str
    scores: Mapping[str, float] | None = None
    """Softmax of a classification head's logits, by label; None for other tasks."""
    truncated: bool = False
    """Whether the row was truncated to train.max_length."""


def predict_rows(
    predictor: Predictor, requests: Sequence[Request], batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield one record of JSON values per request, in order: `input`, `task`, `answer` and scores.

    Truncated rows are marked, and a warning at the end counts them.
    """
    truncated = []
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        for each, prediction in zip(batch, predictor.answer(batch), strict=True):
            record: dict[str, Any] = {
                "input": dict(each.row),
                "task": prediction.task,
                "answer": prediction.answer,
            }
            if prediction.scores is not None:
                record["scores"] = dict(prediction.scores)
            if prediction.truncated:
                record["truncated"] = True
                truncated.append(each.where)
            yield record
    if truncated:
        counts = f"{len(truncated):,} of {len(requests):,}, the first is {truncated[0]}"
        log.warning("inputs truncated to train.max_length: %s", counts)


class Predictor:
    """Predicts answers; loads the adapters of all requested tasks into one model."""

    def __init__(self, loaded: LoadedRun) -> None:
        self._loaded = loaded
        self._eval_tasks = {eval_task.label: eval_task for eval_task in loaded.eval_tasks}
        self._heads = {state.task: state.head for state in loaded.history}
        self._adapters: dict[str, str] = {}
        self._mixes = _mixes_adapters(loaded.model)

    def answer(self, requests: Sequence[Request]) -> list[Prediction]:
        """Predict one batch, in order.

        Raises: DataError, if a row lacks what its task reads.
        """
        examples = [read_example(self._eval_tasks[each.task].spec, each) for each in requests]
        for task in dict.fromkeys(each.task for each in requests):
            self._load_adapter(task)
        answers: dict[int, Prediction] = {}
        with torch.inference_mode():
            for positions in self._batches(requests):
                rows = [(requests[i].task, examples[i]) for i in positions]
                answers |= dict(zip(positions, self._answer_batch(rows), strict=True))
        truncated = [self._truncated(each.task, e) for each, e in zip(requests, examples, strict=True)]
        return [replace(answers[i], truncated=truncated[i]) for i in range(len(requests))]

    def _truncated(self, task: str, example: Example) -> bool:
        """Whether the example is truncated to the task's maximum length."""
        return self._eval_tasks[task].truncated(self._loaded.base.tokenizer, [example]) > 0

    def _load_adapter(self, task: str) -> None:
        """Add the task's as_trained adapter to the model, unless it is loaded."""
        if task not in self._adapters:
            self._adapters[task] = f"task{len(self._adapters)}"
            weights = self._loaded.weights(self._loaded.acting(task))
            add_adapter(self._loaded.model, self._adapters[task], weights)
            self._loaded.model.eval()

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Yield the positions that one forward pass can answer.

        Tasks with a head share a pass; other tasks share one if they decode alike. If the model cannot mix
        adapters, each task has its own pass; if padding changes answers, each text has its own.
        """
        if not self._loaded.base.ignores_padding:
            yield from ([position] for position in range(len(requests)))
            return
        groups: dict[Any, list[int]] = {}
        for position, each in enumerate(requests):
            spec = self._eval_tasks[each.task].spec
            key = "heads" if self._heads[each.task] is not None else kind_of(spec).decoding(spec)
            groups.setdefault((key or each.task) if self._mixes else each.task, []).append(position)
        yield from groups.values()

    def _answer_batch(self, rows: Sequence[tuple[str, Example]]) -> list[Prediction]:
        tasks = [task for task, _ in rows]
        learner = self._learner([self._adapters[task] for task in tasks])
        if self._heads[tasks[0]] is not None:
            return self._classify(rows, learner)
        eval_task = self._eval_tasks[tasks[0]]
        answers = kind_of(eval_task.spec).answers(
            eval_task.spec, learner, self._loaded.base.tokenizer, [e for _, e in rows], eval_task.max_length
        )
        return [Prediction(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    def _learner(self, names: Sequence[str]) -> Any:
        """Return the model with each row of the next batch assigned to its adapter."""
        if self._mixes:
            return _MixedBatchModel(self._loaded.model, names)
        assert len(set(names)) == 1, "a model that cannot mix adapters answers one task at a time"
        self._loaded.model.set_adapter(names[0])
        self._loaded.model.requires_grad_(False)
        return self._loaded.model

    def _classify(self, rows: Sequence[tuple[str, Example]], learner: nn.Module) -> list[Prediction]:
        longest = max(self._eval_tasks[task].max_length for task, _ in rows)
        texts = [example.text for _, example in rows]
        batch = read_texts(self._loaded.base.tokenizer, texts, longest, self._loaded.model.device)
        pooled = mean_pooled(learner, **batch)  # (B, d)
        return [
            self._by_head(self._eval_tasks[task], state)
            for (task, _), state in zip(rows, pooled, strict=True)
        ]

    def _by_head(self, eval_task: EvalTask, state: torch.Tensor) -> Prediction:
        head = self._heads[eval_task.label]
        assert head is not None, "a classification task has a head"
        probabilities = head(state).softmax(dim=0)  # (labels,)
        if not bool(probabilities.isfinite().all()):
            raise LoriError(
                f"task '{eval_task.label}': the model's logits are not finite; no label can be predicted"
            )
        labels = eval_task.spec.labels
        scores = dict(zip(labels, probabilities.tolist(), strict=True))
        return Prediction(eval_task.label, labels[int(probabilities.argmax())], scores)


def _mixes_adapters(model: Any) -> bool:
    """Whether every site receives a batch's rows on its first axis, as PEFT's mixed batches require.

    OPT's MLPs, experts and Longformer's attention receive the tokens of all rows flattened.
    """
    return not record_calls(model, lora_layers(model)).flattened


class _MixedBatchModel(nn.Module):
    """The model with one adapter per row of the next batch (PEFT's mixed batches)."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self._model = [model]  # in a list, so that it is not a submodule of this wrapper
        self._names = list(names)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        device: torch.device = self._model[0].device
        return device

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._model[0].config

    @property
    def generation_config(self) -> Any:
        """The model's generation configuration, with its end tokens."""
        return self._model[0].generation_config

    def forward(self, **inputs: Any) -> Any:
        """Run one forward pass. If the choices of a prompt are separate rows, all rows belong to one task."""
        # An encoder that has read the prompts before is not called again with their ids.
        rows = inputs["input_ids" if "input_ids" in inputs else "decoder_input_ids"].shape[0]
        same = len(set(self._names)) == 1
        assert same or rows == len(self._names), "rows of several tasks were multiplied"
        return self._model[0](**inputs, adapter_names=self._names[:1] * rows if same else self._names)

    def get_base_model(self) -> Any:
        """Return the model without its adapters, under PEFT's method name."""
        return self._model[0].get_base_model()

    def generate(self, **inputs: Any) -> Any:
        """Generate with one adapter per row."""
        return self._model[0].generate(**inputs, adapter_names=self._names)
