"""Answer and grade every example of an eval task in one state of the model."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lori_cl.errors import LoriError
from lori_cl.runtime import Progress
from lori_cl.runtime.distributed import on_rank_0
from lori_cl.runtime.memory import memory_errors
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import Grade, kind_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """The answers to every example and their grade."""

    answers: Sequence[Sequence[str]]
    """The samples of every example, in the eval set's order."""
    grade: Grade
    n_truncated: int
    """Number of truncated examples."""
    elapsed_s: float
    sent_to: Sequence[str] | None = None
    """The task that every example was routed to, if a router was used."""


def measure(
    eval_task: EvalTask, learner: nn.Module, tokenizer: Any, progress: Progress, title: str
) -> Measured:
    """Answer and grade every example of the eval set.

    Raises: LoriError, if the metric gives no finite score.
    """
    began = time.perf_counter()
    answers = answer_examples(eval_task, learner, tokenizer, progress, title)
    return grade_answers(eval_task, answers, tokenizer, began, title)


def grade_answers(
    eval_task: EvalTask, answers: Sequence[Sequence[str]], tokenizer: Any, began: float, title: str
) -> Measured:
    """Grade answers; `began` is the time.perf_counter value at the start of the evaluation.

    Raises: LoriError, if the metric gives no finite score.
    """
    scorer = eval_task.scorer
    # Once for all processes: neither a function nor a judge must give the same grades twice.
    once = (lambda grading: grading()) if scorer.trust_reason(eval_task.spec) is None else on_rank_0
    grade = once(lambda: scorer.grade(eval_task.spec, answers, eval_task.examples))
    if grade.usage is not None:
        log.info("%s: %s", title, grade.usage.words())
    _require_finite(grade, eval_task, title)
    return Measured(
        answers=answers,
        grade=grade,
        n_truncated=eval_task.truncated(tokenizer, eval_task.examples),
        elapsed_s=time.perf_counter() - began,
    )


def _require_finite(grade: Grade, eval_task: EvalTask, title: str) -> None:
    """Check that all parts of the grade are finite: a failed score is an error, never 0."""
    found = {"score": grade.score, "standard error": grade.stderr or 0.0, **grade.parts}
    invalid = [name for name, value in found.items() if not math.isfinite(value)]
    if len(grade.outcomes) != len(eval_task.examples) or not np.isfinite(grade.outcomes).all():
        invalid.append("outcome of every example")
    if invalid or not eval_task.examples:
        over = f"over {len(eval_task.examples):,} examples"
        raise LoriError(
            f"{title}: {eval_task.spec.metric} gave no {invalid[0] if invalid else 'score'} {over}"
        )


@torch.no_grad()
def answer_examples(
    eval_task: EvalTask, learner: nn.Module, tokenizer: Any, progress: Progress, title: str
) -> list[list[str]]:
    """Return the answers to every example.

    Batches hold examples of similar length and depend only on the examples.
    """
    learner.eval()
    kind = kind_of(eval_task.spec)
    order = sorted(range(len(eval_task.examples)), key=lambda i: (len(eval_task.examples[i].text), i))
    size = len(order) if kind.answers_together else eval_task.batch_size
    answers: list[list[str]] = [[] for _ in order]
    with memory_errors(title), progress.bar(title, len(order)) as advance:
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            batch = [eval_task.examples[i] for i in chosen]
            drawn = kind.answer_samples(eval_task.spec, learner, tokenizer, batch, eval_task.max_length)
            for i, samples in zip(chosen, drawn, strict=True):
                answers[i] = samples
            advance(len(chosen))
    return answers
