"""Run one training job with transformers.Trainer."""

from __future__ import annotations

import math
import tempfile

from torch import nn
from transformers import Trainer

from lori_cl.errors import InputError, TrainingDiverged
from lori_cl.spec import TrainSpec
from lori_cl.training.checkpoints import newest_checkpoint, read_trained
from lori_cl.training.distributed import processes
from lori_cl.training.progress import Progress
from lori_cl.training.trainer import REMEDY, JobTrainer, arguments
from lori_cl.training.training_job import TrainingJob, TrainResult


def run_job(job: TrainingJob, settings: TrainSpec, progress: Progress) -> TrainResult:
    """Train every parameter of the learner that requires a gradient, with a new optimizer.

    Resumes from the newest complete checkpoint of the same job, bit for bit.
    Raises: TrainingDiverged, if the loss or a weight is not finite; Interrupted, after a step whose
    checkpoint is written; WorkspaceUnusable, if a checkpoint cannot be written.
    """
    job.learner.train()
    steps = _steps(job, settings)
    done = newest_checkpoint(job.checkpoints) if job.checkpoints else None
    with tempfile.TemporaryDirectory() as scratch, progress.bar(job.title, steps) as advance:
        if done is not None:
            advance(done.step)
        if done is not None and done.step >= steps:  # the Trainer would train one extra step
            loss_sum = read_trained(done.folder, job.learner)
        else:
            folder = str(job.logs) if settings.loggers else scratch
            loss_sum = JobTrainer(job, settings, folder, advance).train_from(done)
    job.learner.eval()
    _check_finite(job)
    return TrainResult(steps, loss_sum / steps)


def _check_finite(job: TrainingJob) -> None:
    # The losses cannot show the effect of the last step.
    if not all(p.isfinite().all() for p in job.learner.parameters() if p.requires_grad):
        raise TrainingDiverged(
            f"{job.title}: the weights are no longer finite after the last step, at learning rate "
            f"{job.lr:g}; {REMEDY}"
        )


def _steps(job: TrainingJob, settings: TrainSpec) -> int:
    batches = math.ceil(len(job.fields) / (settings.batch_size * processes()))
    return math.ceil(math.ceil(batches / settings.gradient_accumulation) * job.epochs)


def check_settings(settings: TrainSpec) -> None:
    """Check, before training, that the Trainer accepts every name in the settings.

    Raises: InputError, with the Trainer's message.
    """
    trial = TrainingJob("trial", nn.Linear(1, 1), None, (), lambda _: {}, epochs=1.0, lr=1e-3, seed=0)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # Many optimizers, schedules and loggers detect a missing package or argument only when created.
            trainer = Trainer(model=trial.learner, args=arguments(settings, trial, scratch))
            trainer.create_optimizer_and_scheduler(num_training_steps=1)
    except (ValueError, ImportError, TypeError, RuntimeError, KeyError) as error:
        raise InputError(f"train: {' '.join(str(error).split())}") from error
