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
class StageAhead:
    """A stage to come."""

    opened: OpenRun
    history: Sequence[StageMemory]
    """The stages before."""
    task: Task
    title: str
    """What its progress bars begin with."""
    observer: Observer


@dataclass(frozen=True)
class StageMade:
    """A stage that is learned, and not scored yet."""

    mask: MaskRecord | None
    taught: Taught
    memory: StageMemory
    file_bytes: int


def learn(ahead: StageAhead) -> StageMade:
    """Claim the task's cells, train them, and write down what they became."""
    lesson = _lesson(ahead, "training", "train")
    context = _context(ahead, lesson)
    mask = ahead.opened.method.begin_stage(context)
    taught = teach(lesson, ahead.opened.curriculum.train, ahead.observer)
    return _written(ahead, context, lesson, mask, taught, {})


def take_over(ahead: StageAhead) -> StageMade:
    """Claim the cells that an imported adapter fills, and write them down; train its head where it has
    none."""
    opened, imported = ahead.opened, ahead.opened.imported
    assert imported is not None, "a run takes over the adapter that it was opened with"
    lesson = replace(_lesson(ahead, "training its head", "train"), checkpoints=None)
    context = _context(ahead, lesson)
    mask = opened.method.import_stage(context, imported.adapter)
    steps = 0
    if lesson.head is not None and imported.head is not None:
        lesson.head.load_state_dict(dict(imported.head))
    elif lesson.head is not None:
        steps = teach(lesson, opened.curriculum.train, ahead.observer).steps
    with torch.no_grad():
        probed = [float(loss) for loss in context.losses(PROBED)]
    weights = imported.adapter.weights
    origin = {
        "base": imported.adapter.base,
        "digest": tensors_digest([*weights.a.items(), *weights.b.items()]),
    }
    taught = Taught(steps, sum(probed) / len(probed))
    return _written(ahead, context, lesson, mask, taught, {"imported": origin})


def _context(ahead: StageAhead, lesson: Lesson) -> StageContext:
    opened, history, task = ahead.opened, ahead.history, ahead.task
    seeds = {purpose: opened.seed(purpose, task) for purpose in SEEDS}
    return StageContext(
        task=task.label,
        past=[memory.learned for memory in history],
        seeds=seeds,
        tasks_left=len(opened.questions) - len(history),
        calibrate=lambda epochs, lr: _calibrate(ahead, epochs, lr),
        losses=lambda examples: losses(lesson, opened.curriculum.train, examples, seeds["probe"]),
        n_train=len(lesson.fields),
    )


def _written(
    ahead: StageAhead,
    context: StageContext,
    lesson: Lesson,
    mask: MaskRecord | None,
    taught: Taught,
    remarks: Mapping[str, Any],
) -> StageMade:
    """The stage's file, which says what it was made from, and what later stages need of it."""
    opened, history, task = ahead.opened, ahead.history, ahead.task
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
    return StageMade(mask, taught, StageMemory(learned, lesson.head, artifact), len(content))


def _calibrate(ahead: StageAhead, epochs: float | None, lr: float) -> None:
    lesson = _lesson(ahead, "calibrating", "calibration")
    epochs = lesson.epochs if epochs is None else epochs
    teach(replace(lesson, epochs=epochs, lr=lr), ahead.opened.curriculum.train, ahead.observer)


def _lesson(ahead: StageAhead, what: str, purpose: str) -> Lesson:
    opened, task = ahead.opened, ahead.task
    question = next(q for q in opened.questions if q.label == task.label)
    kind, train = kind_of(question.spec), opened.curriculum.train
    assert train.lr is not None, "settled when the run began"
    head = kind.head(question.spec, opened.base.width, opened.seed("head", task))
    if head is not None:
        head.to(opened.model.device)
    taught = opened.training_sets[task.label]
    return Lesson(
        title=f"{ahead.title}: {what}",
        learner=kind.learner(opened.model, head),
        head=head,
        fields=taught.fields,
        collate=lambda fields: kind.collate(opened.base.tokenizer, fields),
        epochs=train.epochs_for(task.name),
        lr=train.lr,
        seed=opened.seed(purpose, task),
        ids=[example.id for example in taught.examples],
        checkpoints=opened.workspace.checkpoints_of(opened.run.name) / f"{purpose}-{_identity(ahead)[:16]}",
        logs=opened.workspace.logs_of(opened.run.name) / f"{task.label}-{purpose}",
    )


def stood_on(history: Sequence[StageMemory]) -> tuple[tuple[str, int | None], ...]:
    """(artifact, retired_after) of each finished stage, as a stage to come finds it."""
    return tuple((memory.artifact, memory.learned.retired_after) for memory in history)


def _identity(ahead: StageAhead) -> str:
    """SHA-256 of all that a stage's training depends on: a checkpoint of anything else is not its own."""
    opened, task = ahead.opened, ahead.task
    return digest.of_json(
        {
            "settings": settings_of(opened.curriculum, task),
            "task": task.spec,
            "base": opened.base.digest,
            "stages": stood_on(ahead.history),
            "tasks_left": len(opened.questions) - len(ahead.history),
            "examples": opened.training_sets[task.label].digest,
            "encoding": opened.training_sets[task.label].encoding,
            "environment": decisive(opened.environment),
        }
    )
