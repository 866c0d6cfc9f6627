"""Scores under each view: measured, or proved by the digest of everything they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from lori_cl.methods import Learned, Method
from lori_cl.registry import ArtifactStore, Evaluation
from lori_cl.spec import View
from lori_cl.tasks import kind_of
from lori_cl.training.base_model import BaseModel
from lori_cl.training.encoding import encoding_digest
from lori_cl.training.evaluate import Measured, Question, measure
from lori_cl.training.features import read_features
from lori_cl.training.loading import acting_as_trained
from lori_cl.training.observer import Observer
from lori_cl.training.routed import Features, Routed
from lori_cl.training.stage_file import StageMemory

BASE_VIEW = "base"
"""Row 0: the adapter is off."""


@dataclass
class Examiner:
    """Scores tasks in the states that the views ask for, and writes the answers down."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter in it."""
    method: Method
    artifacts: ArtifactStore
    observer: Observer
    find_measured: Callable[[str], Evaluation | None]
    """By input digest, among all that was ever committed."""
    measure_all: bool
    """Measure also what could be proved."""
    encodings: dict[str, str] = field(default_factory=dict)
    """`encoding_digest` of each task, by label; those that are missing are computed when they are needed."""
    _written: dict[str, tuple[str, int]] = field(default_factory=dict)
    _fresh: dict[str, Evaluation] = field(default_factory=dict)
    _read: dict[str, Features] = field(default_factory=dict)

    def row_zero(self, questions: Sequence[Question]) -> list[Evaluation]:
        """Each task's zero-shot score by the base model."""
        with self.model.disable_adapter():
            return [self._score(0, BASE_VIEW, question, None, "base") for question in questions]

    def row(
        self,
        views: Sequence[View],
        history: Sequence[StageMemory],
        questions: Sequence[Question],
        only: Collection[str] | None = None,
    ) -> list[Evaluation]:
        """Each question's score after the stages of `history`, under each view; of `only` these tasks, where
        they are named.

        Questions beyond the history are tasks still to come; their adapter is the current one in any view but
        `routed`, under which they have no score: nothing can be taken for a task that is not learned.
        """
        scores = []
        for view in views:
            if view is View.ROUTED:
                scores += self._routed_row(history, questions[: len(history)], only)
                continue
            acting = _Acting(self.method)
            for position, question in enumerate(questions, start=1):
                if only is not None and question.label not in only:
                    continue
                learned = position <= len(history)
                sha256 = acting.switched_on(self._acting(view, history, position if learned else None))
                head = history[position - 1].head if learned else None
                scores.append(self._score(len(history), view, question, head, sha256))
        return scores

    def _acting(self, view: View, history: Sequence[StageMemory], position: int | None) -> Sequence[Learned]:
        """The stages that act when a task is scored; `position` is the task's own, None before it is
        learned."""
        stages = [memory.learned for memory in history]
        if view is View.AS_TRAINED and position is not None:
            return acting_as_trained(self.method, stages, position)
        return [stage for stage in stages if stage.acts_after(len(history))]

    def take_written(self) -> dict[str, tuple[str, int]]:
        """(suffix, bytes) of every answers file since the last call, by digest."""
        written, self._written = self._written, {}
        return written

    def _score(
        self, stage: int, view: str, question: Question, head: nn.Module | None, acting: str
    ) -> Evaluation:
        kind = kind_of(question.spec)
        if head is None:
            one_by_one = not self.base.ignores_padding
            head = kind.zero_shot_head(question.spec, self.model, self.base.tokenizer, one_by_one=one_by_one)
        input_digest = question.input_digest(self.base.digest, acting, head, self._encoding(question))
        learner = kind.learner(self.model, head)
        title = f"scoring {question.label}, {view}"
        return self._evaluated(
            stage,
            view,
            question,
            input_digest,
            lambda: measure(question, learner, self.base.tokenizer, self.observer, title),
        )

    def _routed_row(
        self, history: Sequence[StageMemory], questions: Sequence[Question], only: Collection[str] | None
    ) -> list[Evaluation]:
        routed = Routed.after(self.base, self.model, self.method, self.observer, history, questions)
        return [
            self._evaluated(
                len(history),
                View.ROUTED,
                question,
                question.input_digest(
                    self.base.digest,
                    routed.inputs_digest(question.label),
                    None,
                    self._encoding(question),
                ),
                partial(routed.measure, question, self._features, f"scoring {question.label}, routed"),
            )
            for question in questions
            if only is None or question.label in only
        ]

    def _encoding(self, question: Question) -> str:
        """Digest of the token ids of an eval set, computed once."""
        if question.label not in self.encodings:
            self.encodings[question.label] = encoding_digest(question, self.base.tokenizer)
        return self.encodings[question.label]

    def _features(self, question: Question) -> Features:
        """What the base model makes of an eval set, read once."""
        if question.label not in self._read:
            self._read[question.label] = read_features(
                self.base, self.model, question, question.examples, self.observer
            )
        return self._read[question.label]

    def _evaluated(
        self, stage: int, view: str, question: Question, input_digest: str, ask: Callable[[], Measured]
    ) -> Evaluation:
        """The score on these inputs: proved where it was measured before, or else measured now."""
        known = self._fresh.get(input_digest) or self.find_measured(input_digest)
        if known and not self.measure_all:
            return replace(known, stage=stage, task=question.label, view=view, source="proved", elapsed_s=0.0)
        measured = ask()
        evaluation = Evaluation(
            stage=stage,
            task=question.label,
            view=view,
            metric=question.spec.metric,
            score=measured.grade.score,
            n=len(measured.answers),
            stderr=measured.grade.stderr,
            source="measured",
            input_digest=input_digest,
            n_truncated=measured.n_truncated,
            elapsed_s=measured.elapsed_s,
            answers=self._write(question, measured),
            outcomes=tuple(measured.grade.outcomes.tolist()),
            parts=measured.grade.parts,
        )
        self._fresh[input_digest] = evaluation
        return evaluation

    def _write(self, question: Question, measured: Measured) -> str:
        lines: list[dict[str, Any]] = [
            {**_answered(samples), "id": example.id, "outcome": outcome}
            for example, samples, outcome in zip(
                question.examples, measured.answers, measured.grade.outcomes.tolist(), strict=True
            )
        ]
        if measured.sent_to is not None:
            lines = [{**line, "sent_to": task} for line, task in zip(lines, measured.sent_to, strict=True)]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        sha256 = self.artifacts.put(content, "jsonl")
        self._written[sha256] = ("jsonl", len(content))
        return sha256


class _Acting:
    """The stages that act, while nobody else switches any on; the digest of a large adapter takes seconds."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._on: Sequence[Learned] | None = None
        self._digest = ""

    def switched_on(self, stages: Sequence[Learned]) -> str:
        """Make exactly these act; the digest of the adapter then."""
        if self._on is None or [id(s) for s in self._on] != [id(s) for s in stages]:
            self._method.activate(stages)
            self._on, self._digest = stages, self._method.acting_digest()
        return self._digest


def _answered(samples: Sequence[str]) -> dict[str, Any]:
    return {"answer": samples[0]} if len(samples) == 1 else {"answers": list(samples)}
