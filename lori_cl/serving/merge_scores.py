"""Scores of a merged adapter, and of the adapters that were merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lori_cl.evaluation.cached_scores import find_cached
from lori_cl.evaluation.loaded_run import LoadedRun
from lori_cl.evaluation.measure import measure
from lori_cl.forgetting import PairedTest, paired_test
from lori_cl.registry import Registry
from lori_cl.runtime import Progress
from lori_cl.task_data.encoding import encoding_digest
from lori_cl.task_data.eval_tasks import EvalTask
from lori_cl.tasks import kind_of
from lori_cl.tasks.scorers.base import input_groups


@dataclass(frozen=True)
class OwnScore:
    """A task, and the score of its own adapter on it."""

    eval_task: EvalTask
    head: nn.Module | None
    """The task's own head, if it has one."""
    score: float
    outcomes: Sequence[float]
    """One per example, in the order of the eval set."""


@dataclass(frozen=True)
class MergedScore:
    """The scores of one task with its own adapter and with the merged one."""

    metric: str
    own: float
    """Score of the adapter as trained, with the same head and examples."""
    merged: float
    test: PairedTest
    """Paired test over the outcomes of the examples."""


def own_score(loaded: LoadedRun, position: int, registry: Registry, progress: Progress) -> OwnScore:
    """Score a trained task with its adapter as trained; use a cached score if there is one."""
    eval_task, state = loaded.eval_tasks[position], loaded.history[position]
    loaded.method.activate(loaded.acting(state.task))
    acting = loaded.method.acting_digest()
    encoding = encoding_digest(eval_task, loaded.base.tokenizer)
    inputs = eval_task.input_digest(loaded.base.digest, acting, state.head, encoding)
    known = find_cached(registry, loaded.workspace.artifacts, inputs)
    if known is not None:
        return OwnScore(eval_task, state.head, known.score, known.outcomes)
    learner = kind_of(eval_task.spec).learner(loaded.model, state.head)
    title = f"scoring {eval_task.label}, its own adapter"
    grade = measure(eval_task, learner, loaded.base.tokenizer, progress, title).grade
    return OwnScore(eval_task, state.head, grade.score, grade.outcomes.tolist())


def merged_score(own: OwnScore, model: Any, tokenizer: Any, progress: Progress) -> MergedScore:
    """Score a task with the merged adapter that is active in the model, and with the task's own head."""
    eval_task = own.eval_task
    learner = kind_of(eval_task.spec).learner(model, own.head)
    title = f"scoring {eval_task.label}, merged"
    grade = measure(eval_task, learner, tokenizer, progress, title).grade
    return MergedScore(
        metric=eval_task.spec.metric,
        own=own.score,
        merged=grade.score,
        test=paired_test(own.outcomes, grade.outcomes, groups=input_groups(eval_task.examples)),
    )
