"""Scores in each view: measured, or cached under the digest of everything they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from lori_cl.evaluation.measure import Measured, measure
from lori_cl.evaluation.routed_view import Features, Routed
from lori_cl.evaluation.routing_features import read_features
from lori_cl.methods import Method, StageState
from lori_cl.models.base_model import BaseModel
from lori_cl.registry import ArtifactStore, Evaluation
from lori_cl.runtime import Progress
from lori_cl.runtime.memory import memory_errors
from lori_cl.spec import View
from lori_cl.task_data.encoding import encoding_digest
from lori_cl.task_data.eval_tasks import EvalTask, on_samples
from lori_cl.tasks import JudgeUsage, kind_of

BASE_VIEW = "base"
"""View of row 0, in which the adapter is off."""


@dataclass
class Evaluator:
    """Scores tasks in the model states that the views define, and writes the answers to artifacts."""

    base: BaseModel
    model: Any
    """The base model with the method's adapter attached."""
    method: Method
    artifacts: ArtifactStore
    progress: Progress
    find_measured: Callable[[str], Evaluation | None]
    """Return the committed score with an input digest; None if there is none."""
    measure_all: bool
    """Measure every score, even if it is cached."""
    is_sampled: Callable[[str, int, int], bool] = lambda _view, _stage, _own: False
    """Whether `eval.sample` applies, by view, stage and the task's own stage."""
    encodings: dict[tuple[str, int], str] = field(default_factory=dict)
    """`encoding_digest` by label and number of examples; missing digests are computed on demand."""
    judge_usage: JudgeUsage = field(default_factory=JudgeUsage)
    """What judges were asked so far."""
    _written: dict[str, tuple[str, int]] = field(default_factory=dict)
    _measured: dict[str, Evaluation] = field(default_factory=dict)
    _feature_cache: dict[tuple[str, int], Features] = field(default_factory=dict)

    def row_zero(self, eval_tasks: Sequence[EvalTask]) -> list[Evaluation]:
        """Return each task's zero-shot score of the base model."""
        with self.model.disable_adapter():
            return [self._score(0, BASE_VIEW, eval_task, None, "base") for eval_task in eval_tasks]

    def row(
        self,
        views: Sequence[View],
        history: Sequence[StageState],
        eval_tasks: Sequence[EvalTask],
        only: Collection[str] | None = None,
    ) -> list[Evaluation]:
        """Return each eval task's score after the stages of `history`, in each view; `only` selects tasks.

        Eval tasks beyond the history are not trained yet. They are scored with the current adapter, except in
        the view `routed`, where they have no score: no example can be routed to an untrained task.
        """
        scores = []
        for view in views:
            if view is View.ROUTED:
                scores += self._routed_row(history, eval_tasks[: len(history)], only)
                continue
            acting = _ActiveAdapter(self.method)
            sampled = on_samples(eval_tasks, view, len(history), self.is_sampled)
            for position, eval_task in enumerate(sampled, start=1):
                if only is not None and eval_task.label not in only:
                    continue
                is_trained = position <= len(history)
                sha256 = acting.activate(self._acting(view, history, position if is_trained else None))
                head = history[position - 1].head if is_trained else None
                scores.append(self._score(len(history), view, eval_task, head, sha256))
        return scores

    def also_row(self, history: Sequence[StageState], eval_tasks: Sequence[EvalTask]) -> list[Evaluation]:
        """Return the score of each task that is not trained, with the current adapter, in the view `current`.

        A classification task without a prompt uses the zero-shot head of the base model, as in row 0.
        """
        if not eval_tasks:
            return []
        sha256 = _ActiveAdapter(self.method).activate(self._acting(View.CURRENT, history, None))
        return [self._score(len(history), View.CURRENT, each, None, sha256) for each in eval_tasks]

    def _acting(
        self, view: View, history: Sequence[StageState], position: int | None
    ) -> Sequence[StageState]:
        """Return the active stages for a task; `position` is the task's own, None if untrained."""
        if view is View.AS_TRAINED and position is not None:
            return self.method.acting_as_trained(history, position)
        return [state for state in history if state.is_active_after(len(history))]

    def pop_written(self) -> dict[str, tuple[str, int]]:
        """Return (suffix, bytes) of every answers file written since the last call, by digest."""
        written, self._written = self._written, {}
        return written

    def _score(
        self, stage: int, view: str, eval_task: EvalTask, head: nn.Module | None, acting: str
    ) -> Evaluation:
        kind, title = kind_of(eval_task.spec), f"scoring {eval_task.label}, {view}"
        if head is None:
            one_by_one = not self.base.ignores_padding
            with memory_errors(title):
                head = kind.zero_shot_head(
                    eval_task.spec, self.model, self.base.tokenizer, one_by_one=one_by_one
                )
        input_digest = eval_task.input_digest(self.base.digest, acting, head, self._encoding(eval_task))
        learner = kind.learner(self.model, head)
        return self._evaluated(
            stage,
            view,
            eval_task,
            input_digest,
            lambda: measure(eval_task, learner, self.base.tokenizer, self.progress, title),
        )

    def _routed_row(
        self, history: Sequence[StageState], eval_tasks: Sequence[EvalTask], only: Collection[str] | None
    ) -> list[Evaluation]:
        routed = Routed.after(self.base, self.model, self.method, self.progress, history, eval_tasks)
        return [
            self._evaluated(
                len(history),
                View.ROUTED,
                eval_task,
                eval_task.input_digest(
                    self.base.digest,
                    routed.inputs_digest(eval_task.label),
                    None,
                    self._encoding(eval_task),
                ),
                partial(routed.measure, eval_task, self._features, f"scoring {eval_task.label}, routed"),
            )
            for eval_task in on_samples(eval_tasks, View.ROUTED, len(history), self.is_sampled)
            if only is None or eval_task.label in only
        ]

    def _encoding(self, eval_task: EvalTask) -> str:
        """Return the digest of an eval set's token ids, computed once."""
        key = (eval_task.label, len(eval_task.examples))
        if key not in self.encodings:
            self.encodings[key] = encoding_digest(eval_task, self.base.tokenizer)
        return self.encodings[key]

    def _features(self, eval_task: EvalTask) -> Features:
        """Return the base model's features of an eval set, computed once."""
        key = (eval_task.label, len(eval_task.examples))
        if key not in self._feature_cache:
            self._feature_cache[key] = read_features(
                self.base, self.model, eval_task, eval_task.examples, self.progress
            )
        return self._feature_cache[key]

    def _evaluated(
        self,
        stage: int,
        view: str,
        eval_task: EvalTask,
        input_digest: str,
        measure_now: Callable[[], Measured],
    ) -> Evaluation:
        """Return the score on these inputs: cached if it was measured before, otherwise measured now."""
        known = self._measured.get(input_digest) or self.find_measured(input_digest)
        if known and not self.measure_all:
            return replace(
                known, stage=stage, task=eval_task.label, view=view, source="cached", elapsed_s=0.0
            )
        measured = measure_now()
        self.judge_usage += measured.grade.usage or JudgeUsage()
        evaluation = Evaluation(
            stage=stage,
            task=eval_task.label,
            view=view,
            metric=eval_task.spec.metric,
            score=measured.grade.score,
            n=len(measured.answers),
            stderr=measured.grade.stderr,
            source="measured",
            input_digest=input_digest,
            n_truncated=measured.n_truncated,
            elapsed_s=measured.elapsed_s,
            answers=self._write(eval_task, measured),
            outcomes=tuple(measured.grade.outcomes.tolist()),
            parts=measured.grade.parts,
        )
        self._measured[input_digest] = evaluation
        return evaluation

    def _write(self, eval_task: EvalTask, measured: Measured) -> str:
        lines: list[dict[str, Any]] = [
            {**_answered(samples), "id": example.id, "outcome": outcome}
            for example, samples, outcome in zip(
                eval_task.examples, measured.answers, measured.grade.outcomes.tolist(), strict=True
            )
        ]
        if measured.sent_to is not None:
            lines = [{**line, "sent_to": task} for line, task in zip(lines, measured.sent_to, strict=True)]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        sha256 = self.artifacts.put(content, "jsonl")
        self._written[sha256] = ("jsonl", len(content))
        return sha256


class _ActiveAdapter:
    """Caches the active stages and the adapter's digest, which takes seconds for a large adapter.

    Valid only while nothing else activates stages.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self._active: Sequence[StageState] | None = None
        self._digest = ""

    def activate(self, stages: Sequence[StageState]) -> str:
        """Activate exactly these stages; return the digest of the adapter."""
        if self._active is None or [id(s) for s in self._active] != [id(s) for s in stages]:
            self._method.activate(stages)
            self._active, self._digest = stages, self._method.acting_digest()
        return self._digest


def _answered(samples: Sequence[str]) -> dict[str, Any]:
    return {"answer": samples[0]} if len(samples) == 1 else {"answers": list(samples)}
