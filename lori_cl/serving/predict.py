"""Predict answers for new texts with the adapters of their tasks; a batch can mix tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lori_cl import digest
from lori_cl.adapters import add_adapter, lora_layers, record_calls
from lori_cl.errors import LoriError
from lori_cl.evaluation import LoadedRun
from lori_cl.model_traits import input_device
from lori_cl.runtime.memory import memory_errors
from lori_cl.serving.batch_model import BatchModel, OnStep
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


@dataclass(frozen=True)
class Job:
    """An example to answer, and the settings that its task answers it with."""

    task: str
    """The label of the task whose adapter answers."""
    spec: Any
    """The TaskSpec; its decoding settings may differ from those of the registered task."""
    example: Example
    max_length: int
    """Maximum tokens of the input."""


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
        jobs = [self.job_of(each) for each in requests]
        answers: dict[int, Prediction] = {}
        for positions in self.batches(jobs):
            answers |= zip(positions, self.answer_batch([jobs[i] for i in positions]), strict=True)
        return [
            replace(answers[i], truncated=self._truncated(job.task, job.example))
            for i, job in enumerate(jobs)
        ]

    def job_of(self, request: Request) -> Job:
        """Return the request with the decoding settings of its task.

        Raises: DataError, if the row lacks what its task reads.
        """
        eval_task = self._eval_tasks[request.task]
        example = read_example(eval_task.spec, request)
        return Job(request.task, eval_task.spec, example, eval_task.max_length)

    def _truncated(self, task: str, example: Example) -> bool:
        """Whether the example is truncated to the task's maximum length."""
        return self._eval_tasks[task].truncated(self._loaded.base.tokenizer, [example]) > 0

    def load_adapter(self, task: str) -> None:
        """Add the task's as_trained adapter to the model, unless it is loaded."""
        if task not in self._adapters:
            self._adapters[task] = f"task{len(self._adapters)}"
            weights = self._loaded.weights(self._loaded.acting(task))
            add_adapter(self._loaded.model, self._adapters[task], weights)
            self._loaded.model.eval()

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[int]]:
        """Yield the positions that one forward pass can answer.

        Tasks with a head share a pass; other tasks share one if they decode alike. If the model cannot mix
        adapters, each task has its own pass; if padding changes answers, each text has its own.
        """
        if not self._loaded.base.ignores_padding:
            yield from ([position] for position in range(len(jobs)))
            return
        groups: dict[Any, list[int]] = {}
        for position, job in enumerate(jobs):
            groups.setdefault(self._batch_key(job), []).append(position)
        yield from groups.values()

    def _batch_key(self, job: Job) -> Any:
        if self._mixes and self._heads[job.task] is not None:
            return "heads"
        key = kind_of(job.spec).decoding(job.spec) if self._mixes else None
        return key or (job.task, digest.of_json(job.spec.to_record()))

    def answer_batch(self, jobs: Sequence[Job], on_step: OnStep | None = None) -> list[Prediction]:
        """Answer jobs that share a pass, see `batches`; `on_step` is called for each generated token."""
        for task in dict.fromkeys(job.task for job in jobs):
            self.load_adapter(task)
        with memory_errors("answering"), torch.inference_mode():
            learner = self._learner([self._adapters[job.task] for job in jobs], on_step)
            if self._heads[jobs[0].task] is not None:
                return self._classify(jobs, learner)
            spec = jobs[0].spec
            answers = kind_of(spec).answers(
                spec, learner, self._loaded.base.tokenizer, [job.example for job in jobs], jobs[0].max_length
            )
        return [Prediction(job.task, answer) for job, answer in zip(jobs, answers, strict=True)]

    def _learner(self, names: Sequence[str], on_step: OnStep | None) -> Any:
        """Return the model with each row of the next batch assigned to its adapter."""
        if self._mixes:
            return BatchModel(self._loaded.model, names, on_step)
        assert len(set(names)) == 1, "a model that cannot mix adapters answers one task at a time"
        self._loaded.model.set_adapter(names[0])
        self._loaded.model.requires_grad_(False)
        return BatchModel(self._loaded.model, None, on_step) if on_step else self._loaded.model

    def _classify(self, jobs: Sequence[Job], learner: nn.Module) -> list[Prediction]:
        longest = max(job.max_length for job in jobs)
        texts = [job.example.text for job in jobs]
        batch = read_texts(self._loaded.base.tokenizer, texts, longest, input_device(self._loaded.model))
        pooled = mean_pooled(learner, **batch)  # (B, d)
        return [
            self._by_head(self._eval_tasks[job.task], state) for job, state in zip(jobs, pooled, strict=True)
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
