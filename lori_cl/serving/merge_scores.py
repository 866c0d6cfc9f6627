"""A merged adapter's scores, beside those of the adapters that went into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lori_cl.forgetting import PairedTest, paired_test
from lori_cl.registry import Registry
from lori_cl.tasks import kind_of
from lori_cl.tasks.scorers.base import input_groups
from lori_cl.training.cached_scores import find_cached
from lori_cl.training.encoding import encoding_digest
from lori_cl.training.evaluate import Question, measure
from lori_cl.training.loading import LoadedRun
from lori_cl.training.observer import Observer


@dataclass(frozen=True)
class Exam:
    """A task, and what its own adapter scores on it."""

    question: Question
    head: nn.Module | None
    """The task's own."""
    score: float
    outcomes: Sequence[float]
    """One an example, in the eval set's order."""


@dataclass(frozen=True)
class MergedScore:
    """One task, by its own adapter and by the merged one."""

    metric: str
    own: float
    """Of the adapter as trained, under the same head and on the same examples."""
    merged: float
    test: PairedTest
    """Of the answers, example by example."""


def own_exam(loaded: LoadedRun, position: int, registry: Registry, observer: Observer) -> Exam:
    """Score a learned task with its adapter as trained; a cached score is used."""
    question, memory = loaded.questions[position], loaded.history[position]
    loaded.method.activate(loaded.acting(memory.learned.task))
    acting = loaded.method.acting_digest()
    encoding = encoding_digest(question, loaded.base.tokenizer)
    inputs = question.input_digest(loaded.base.digest, acting, memory.head, encoding)
    known = find_cached(registry, loaded.workspace.artifacts, inputs)
    if known is not None:
        return Exam(question, memory.head, known.score, known.outcomes)
    learner = kind_of(question.spec).learner(loaded.model, memory.head)
    title = f"scoring {question.label}, its own adapter"
    grade = measure(question, learner, loaded.base.tokenizer, observer, title).grade
    return Exam(question, memory.head, grade.score, grade.outcomes.tolist())


def merged_score(exam: Exam, model: Any, tokenizer: Any, observer: Observer) -> MergedScore:
    """Score a task under the merged adapter that acts in the model, with the task's own head."""
    question = exam.question
    learner = kind_of(question.spec).learner(model, exam.head)
    title = f"scoring {question.label}, merged"
    grade = measure(question, learner, tokenizer, observer, title).grade
    return MergedScore(
        metric=question.spec.metric,
        own=exam.score,
        merged=grade.score,
        test=paired_test(exam.outcomes, grade.outcomes, groups=input_groups(question.examples)),
    )
