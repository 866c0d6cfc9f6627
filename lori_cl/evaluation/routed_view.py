"""View `routed`: a router picks a task for each example, which answers it as it was trained."""

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
from lori_cl.evaluation.measure import Measured, answer_examples, grade_answers
from lori_cl.methods import Method, StageState
from lori_cl.models.base_model import BaseModel
from lori_cl.routing import Router, StoredStatistics
from lori_cl.runtime import Progress
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import kind_of

ROUTING_ACCURACY = "routing_accuracy"
"""Name of the part of a routed score: the fraction of examples routed to their own task."""

Features = Float[np.ndarray, "n d"]
"""One row for each example."""


@dataclass(frozen=True)
class Candidate:
    """A trained task that examples can be routed to."""

    eval_task: EvalTask
    head: nn.Module | None
    stages: Sequence[StageState]
    """The active stages."""
    acting: str
    """Digest of the adapter with these stages active."""
    statistics: StoredStatistics

    @property
    def label(self) -> str:
        """The task's label."""
        return self.eval_task.label

    def identity(self) -> dict[str, Any]:
        """Return everything of this task that an answer may depend on."""
        return {
            "task": self.label,
            "statistics": self.statistics.artifact,
            "adapter": self.acting,
            "head": tensors_digest(self.head.state_dict().items()) if self.head else None,
            "spec": self.eval_task.spec.to_record(),
        }


def candidates(
    method: Method, history: Sequence[StageState], eval_tasks: Sequence[EvalTask]
) -> list[Candidate]:
    """Return every trained task that is not retired, in training order.

    Each one is activated once to compute its digest.
    """
    found = []
    for position, (state, eval_task) in enumerate(zip(history, eval_tasks, strict=True), start=1):
        if not state.is_active_after(len(history)):
            continue
        assert state.router is not None, "statistics are gathered before examples are routed"
        stages = method.acting_as_trained(history, position)
        method.activate(stages)
        found.append(Candidate(eval_task, state.head, stages, method.acting_digest(), state.router))
    return found


@dataclass(frozen=True)
class Routed:
    """The trained tasks of a run and the router between them."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter attached."""
    method: Method
    progress: Progress
    candidates: Sequence[Candidate]
    router: Router

    @classmethod
    def after(
        cls,
        base: BaseModel,
        model: Any,
        method: Method,
        progress: Progress,
        history: Sequence[StageState],
        eval_tasks: Sequence[EvalTask],
    ) -> Self:
        """Return the state after the stages of `history`, with one eval task for each stage."""
        found = candidates(method, history, eval_tasks)
        router = Router.fit({each.label: each.statistics.statistics for each in found})
        return cls(base, model, method, progress, found, router)

    def inputs_digest(self, own: str) -> str:
        """SHA-256 of everything a task's answers depend on, except the base model and the eval set."""
        return digest.of_json(
            {
                "own": own,
                "among": [candidate.identity() for candidate in self.candidates],
                **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
            }
        )

    def measure(self, eval_task: EvalTask, read: Callable[[EvalTask], Features], title: str) -> Measured:
        """Answer every example with the task it is routed to; grade the answers by the eval task's metric.

        Raises: LoriError, if the metric gives no finite score.
        """
        began = time.perf_counter()
        routed = self.router.route(read(eval_task))
        answers: list[list[str]] = [[] for _ in routed]
        for candidate in self.candidates:
            chosen = [i for i, label in enumerate(routed) if label == candidate.label]
            if chosen:
                part = replace(eval_task, examples=[eval_task.examples[i] for i in chosen])
                for i, answered in zip(chosen, self._answers(candidate, part, title), strict=True):
                    answers[i] = answered
        measured = grade_answers(eval_task, answers, self.base.tokenizer, began, title)
        accuracy = sum(label == eval_task.label for label in routed) / len(routed)
        parts = {**measured.grade.parts, ROUTING_ACCURACY: accuracy}
        return replace(measured, grade=replace(measured.grade, parts=parts), sent_to=routed)

    def _answers(self, candidate: Candidate, part: EvalTask, title: str) -> list[list[str]]:
        """Return the candidate's answers to examples of any task.

        A head answers in its own task's labels. Without a head, the eval task's own spec is used, and only
        the cells belong to the candidate.
        """
        self.method.activate(candidate.stages)
        request = part if candidate.head is None else replace(part, spec=candidate.eval_task.spec)
        learner = kind_of(request.spec).learner(self.model, candidate.head)
        return answer_examples(
            request, learner, self.base.tokenizer, self.progress, f"{title} as {candidate.label}"
        )
