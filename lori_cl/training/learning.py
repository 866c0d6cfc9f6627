"""Learning one task: what a stage trains, or takes over from elsewhere, and writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.methods import Learned, StageContext
from lori_cl.registry import MaskRecord, Task
from lori_cl.tasks import kind_of
from lori_cl.training.continuing import settings_of
from lori_cl.training.environment import decisive
from lori_cl.training.lesson import Lesson, Taught, losses
from lori_cl.training.observer import Observer
from lori_cl.training.opening import OpenRun
from lori_cl.training.stage import teach
from lori_cl.training.stage_file import StageMemory, stage_bytes

SEEDS = ("data", "mask", "projection", "probe", "calibration", "head", "train")
"""What each stage draws a seed of its own for."""

PROBED = 256
"""Training examples that the loss of an adapter from elsewhere is taken over."""


@dataclass(frozen=True)
class Learnt:
    """What a stage has learned."""

    mask: MaskRecord | None
    taught: Taught
    memory: StageMemory
    file_bytes: int


def learn(
    opened: OpenRun, history: Sequence[StageMemory], task: Task, title: str, observer: Observer
) -> Learnt:
    """Claim the task's cells, train them, and write down what they became."""
    lesson = _lesson(opened, history, task, f"{title}: training", "train")
    context = _context(opened, history, task, title, lesson, observer)
    mask = opened.method.begin_stage(context)
    taught = teach(lesson, opened.curriculum.train, observer)
    return _written(opened, history, task, context, lesson, mask, taught, {})


def adopt(
    opened: OpenRun,
    history: Sequence[StageMemory],
    task: Task,
    title: str,
    observer: Observer,
) -> Learnt:
    """Claim the cells that a ready adapter fills, and write them down; train its head where it has none."""
    brought = opened.brought
    assert brought is not None, "a run adopts the adapter that it was opened with"
    lesson = replace(_lesson(opened, history, task, f"{title}: training its head", "train"), checkpoints=None)
    context = _context(opened, history, task, title, lesson, observer)
    mask = opened.method.adopt_stage(context, brought.adapter)
    steps = 0
    if lesson.head is not None and brought.head is not None:
        lesson.head.load_state_dict(dict(brought.head))
    elif lesson.head is not None:
        steps = teach(lesson, opened.curriculum.train, observer).steps
    with torch.no_grad():
        probed = [float(loss) for loss in context.losses(PROBED)]
    weights = brought.adapter.weights
    imported = {
        "base": brought.adapter.base,
        "digest": tensors_digest([*weights.a.items(), *weights.b.items()]),
    }
    taught = Taught(steps, sum(probed) / len(probed))
    return _written(opened, history, task, context, lesson, mask, taught, {"imported": imported})


def _context(
    opened: OpenRun,
    history: Sequence[StageMemory],
    task: Task,
    title: str,
    lesson: Lesson,
    observer: Observer,
) -> StageContext:
    seeds = {purpose: opened.seed(purpose, task) for purpose in SEEDS}
    train = opened.curriculum.train
    return StageContext(
        task=task.label,
        past=[memory.learned for memory in history],
        seeds=seeds,
        tasks_left=len(opened.questions) - len(history),
        calibrate=lambda epochs, lr: _calibrate(opened, history, task, title, observer, epochs, lr),
        losses=lambda examples: losses(lesson, train, examples, seeds["probe"]),
        n_train=len(lesson.fields),
    )


def _written(
    opened: OpenRun,
    history: Sequence[StageMemory],
    task: Task,
    context: StageContext,
    lesson: Lesson,
    mask: MaskRecord | None,
    taught: Taught,
    remarks: Mapping[str, Any],
) -> Learnt:
    """The stage's file, which says what it was made from, and what later stages need of it."""
    outcome = opened.method.end_stage(context)
    if mask is not None:
        mask = replace(mask, directions=outcome.directions)
    training_set = opened.training_sets[task.label]
    metadata = {
        "run": opened.run.name,
        "stage": len(history) + 1,
        "task": task.label,
        "base": opened.base.digest,
        "settings": settings_of(opened.curriculum, task),
        "train_digest": training_set.digest,
        "n_train": len(training_set.fields),
        "n_truncated": training_set.n_truncated,
        "steps": taught.steps,
        "projection": mask.projection if mask else None,
        "mask": mask.digest if mask else None,
        "parent": history[-1].artifact if history else None,
        "stands_on": [memory.artifact for memory in history if memory.learned.retired_after is None],
        "seeds": context.seeds,
        **remarks,
    }
    content = stage_bytes(outcome.tensors, lesson.head, metadata)
    artifact = opened.workspace.artifacts.put(content, "safetensors")
    learned = Learned(context.task, outcome.tensors, context.seeds)
    return Learnt(mask, taught, StageMemory(learned, lesson.head, artifact), len(content))


def _calibrate(
    opened: OpenRun,
    history: Sequence[StageMemory],
    task: Task,
    title: str,
    observer: Observer,
    epochs: float | None,
    lr: float,
) -> None:
    lesson = _lesson(opened, history, task, f"{title}: calibrating", "calibration")
    epochs = lesson.epochs if epochs is None else epochs
    teach(replace(lesson, epochs=epochs, lr=lr), opened.curriculum.train, observer)


def _lesson(opened: OpenRun, history: Sequence[StageMemory], task: Task, title: str, purpose: str) -> Lesson:
    question = next(q for q in opened.questions if q.label == task.label)
    kind, train = kind_of(question.spec), opened.curriculum.train
    assert train.lr is not None, "settled when the run began"
    head = kind.head(question.spec, opened.base.width, opened.seed("head", task))
    if head is not None:
        head.to(opened.model.device)
    taught = opened.training_sets[task.label]
    return Lesson(
        title=title,
        learner=kind.learner(opened.model, head),
        head=head,
        fields=taught.fields,
        collate=lambda fields: kind.collate(opened.base.tokenizer, fields),
        epochs=train.epochs_for(task.name),
        lr=train.lr,
        seed=opened.seed(purpose, task),
        ids=[example.id for example in taught.examples],
        checkpoints=opened.workspace.checkpoints
        / opened.run.name
        / f"{purpose}-{_identity(opened, history, task)[:16]}",
        logs=opened.workspace.place("logs", opened.run.name, f"{task.label}-{purpose}"),
    )


def stood_on(history: Sequence[StageMemory]) -> tuple[tuple[str, int | None], ...]:
    """(artifact, retired_after) of each finished stage, as a stage to come finds it."""
    return tuple((memory.artifact, memory.learned.retired_after) for memory in history)


def _identity(opened: OpenRun, history: Sequence[StageMemory], task: Task) -> str:
    """SHA-256 of all that a stage's training depends on: a checkpoint of anything else is not its own."""
    return digest.of_json(
        {
            "settings": settings_of(opened.curriculum, task),
            "task": task.spec,
            "base": opened.base.digest,
            "stages": stood_on(history),
            "tasks_left": len(opened.questions) - len(history),
            "examples": opened.training_sets[task.label].digest,
            "environment": decisive(opened.environment),
        }
    )
