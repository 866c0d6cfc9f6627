"""One stage's training, by transformers.Trainer."""

from __future__ import annotations

import math
import tempfile

from torch import nn
from transformers import Trainer

from lori_cl.errors import InputError, TrainingDiverged
from lori_cl.spec import TrainSpec
from lori_cl.training.checkpoints import newest, read_trained
from lori_cl.training.launch import processes
from lori_cl.training.lesson import Lesson, Taught
from lori_cl.training.lesson_trainer import REMEDY, LessonTrainer, arguments
from lori_cl.training.observer import Observer


def teach(lesson: Lesson, settings: TrainSpec, observer: Observer) -> Taught:
    """Train everything in the learner that requires a gradient, with a fresh optimizer.

    Where a complete checkpoint of the same lesson is there, it goes on from there, to the same bits.
    Raises: TrainingDiverged, if the loss or a weight is not a finite number; Interrupted, at the end of a
    step, with a checkpoint of it; WorkspaceUnusable, if a checkpoint cannot be written.
    """
    lesson.learner.train()
    steps = _steps(lesson, settings)
    done = newest(lesson.checkpoints) if lesson.checkpoints else None
    with tempfile.TemporaryDirectory() as scratch, observer.bar(lesson.title, steps) as advance:
        if done is not None:
            advance(done.step)
        if done is not None and done.step >= steps:  # the Trainer would take one step more
            loss_sum = read_trained(done.folder, lesson.learner)
        else:
            folder = str(lesson.logs) if settings.loggers else scratch
            loss_sum = LessonTrainer(lesson, settings, folder, advance).train_on(done)
    lesson.learner.eval()
    _check_finite(lesson)
    return Taught(steps, loss_sum / steps)


def _check_finite(lesson: Lesson) -> None:
    # No loss knows anything of what the last step did.
    if not all(p.isfinite().all() for p in lesson.learner.parameters() if p.requires_grad):
        raise TrainingDiverged(
            f"{lesson.title}: the weights are no longer finite after the last step, at learning rate "
            f"{lesson.lr:g}; {REMEDY}"
        )


def _steps(lesson: Lesson, settings: TrainSpec) -> int:
    batches = math.ceil(len(lesson.fields) / (settings.batch_size * processes()))
    return math.ceil(math.ceil(batches / settings.gradient_accumulation) * lesson.epochs)


def check_settings(settings: TrainSpec) -> None:
    """Make sure, before anything is trained, that the Trainer knows every name in the settings.

    Raises: InputError, with the Trainer's own words.
    """
    trial = Lesson("trial", nn.Linear(1, 1), None, (), lambda _: {}, epochs=1.0, lr=1e-3, seed=0)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # Many optimizers, schedules and loggers find out only when they are made that a package or an
            # argument is missing.
            trainer = Trainer(model=trial.learner, args=arguments(settings, trial, scratch))
            trainer.create_optimizer_and_scheduler(num_training_steps=1)
    except (ValueError, ImportError, TypeError, RuntimeError, KeyError) as error:
        raise InputError(f"train: {' '.join(str(error).split())}") from error
