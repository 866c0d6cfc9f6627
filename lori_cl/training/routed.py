"""View `routed`: the task of each example is guessed, and answered as that task was trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from torch import nn

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.methods import Learned, Method
from lori_cl.routing import Router
from lori_cl.tasks import kind_of
from lori_cl.training.base_model import BaseModel
from lori_cl.training.evaluate import Measured, Question, ask, graded
from lori_cl.training.loading import acting_as_trained
from lori_cl.training.observer import Observer
from lori_cl.training.stage_file import Gathered, StageMemory

ROUTING_ACCURACY = "routing_accuracy"
"""The part of a routed score that says how many examples were taken for their own task's."""

Features = Float[np.ndarray, "n d"]
"""One row an example."""


@dataclass(frozen=True)
class Candidate:
    """A learned task, as it answers whatever is taken for one of its own."""

    question: Question
    head: nn.Module | None
    stages: Sequence[Learned]
    """Those that act."""
    acting: str
    """Digest of the adapter then."""
    gathered: Gathered

    @property
    def label(self) -> str:
        """The task's label."""
        return self.question.label

    def identity(self) -> dict[str, Any]:
        """Everything of this task that an answer may depend on."""
        return {
            "task": self.label,
            "statistics": self.gathered.artifact,
            "adapter": self.acting,
            "head": tensors_digest(self.head.state_dict().items()) if self.head else None,
            "spec": self.question.spec.to_record(),
        }


def candidates(
    method: Method, history: Sequence[StageMemory], questions: Sequence[Question]
) -> list[Candidate]:
    """Every learned task that was not retired before, in the order of learning.

    Each is switched on once, for its digest.
    """
    learned = [memory.learned for memory in history]
    found = []
    for position, (memory, question) in enumerate(zip(history, questions, strict=True), start=1):
        if not memory.learned.acts_after(len(history)):
            continue
        assert memory.gathered is not None, "statistics are gathered before tasks are told apart"
        stages = acting_as_trained(method, learned, position)
        method.activate(stages)
        found.append(Candidate(question, memory.head, stages, method.acting_digest(), memory.gathered))
    return found


@dataclass(frozen=True)
class Routed:
    """The tasks that a run has learned so far, and what guesses between them."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter in it."""
    method: Method
    observer: Observer
    among: Sequence[Candidate]
    router: Router

    @classmethod
    def after(
        cls,
        base: BaseModel,
        model: Any,
        method: Method,
        observer: Observer,
        history: Sequence[StageMemory],
        questions: Sequence[Question],
    ) -> Self:
        """As it is after the stages of `history`, one question a stage."""
        among = candidates(method, history, questions)
        router = Router.fit({of.label: of.gathered.statistics for of in among})
        return cls(base, model, method, observer, among, router)

    def inputs_digest(self, own: str) -> str:
        """SHA-256 of everything that answers to a task depend on beside the base model and its eval set."""
        return digest.of_json(
            {
                "own": own,
                "among": [candidate.identity() for candidate in self.among],
                **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
            }
        )

    def measure(self, question: Question, read: Callable[[Question], Features], title: str) -> Measured:
        """Have every example answered by the task that it is taken for; graded as the question says.

        Raises: LoriError, if the metric gives no number.
        """
        began = time.perf_counter()
        guessed = self.router.route(read(question))
        answers: list[list[str]] = [[] for _ in guessed]
        for candidate in self.among:
            chosen = [i for i, label in enumerate(guessed) if label == candidate.label]
            if chosen:
                part = replace(question, examples=[question.examples[i] for i in chosen])
                for i, answered in zip(chosen, self._answers(candidate, part, title), strict=True):
                    answers[i] = answered
        measured = graded(question, answers, self.base.tokenizer, began, title)
        right = sum(label == question.label for label in guessed) / len(guessed)
        parts = {**measured.grade.parts, ROUTING_ACCURACY: right}
        return replace(measured, grade=replace(measured.grade, parts=parts), sent_to=guessed)

    def _answers(self, candidate: Candidate, part: Question, title: str) -> list[list[str]]:
        """What one task answers to examples of another, or of its own.

        A head answers in its own task's labels; without one the question stays what it is, and only the
        cells are the other task's.
        """
        self.method.activate(candidate.stages)
        asked = part if candidate.head is None else replace(part, spec=candidate.question.spec)
        learner = kind_of(asked.spec).learner(self.model, candidate.head)
        return ask(asked, learner, self.base.tokenizer, self.observer, f"{title} as {candidate.label}")
