"""Train one stage, or import its adapter, and write its artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.errors import InputError
from lori_cl.methods import Fields, MaskedMethod, StageContext, StageState
from lori_cl.registry import MaskRecord, Task
from lori_cl.tasks import kind_of
from lori_cl.training.environment import result_relevant
from lori_cl.training.progress import Progress
from lori_cl.training.resume_checks import settings_of
from lori_cl.training.run_setup import OpenRun
from lori_cl.training.stage_file import FinishedStage, stage_bytes
from lori_cl.training.task_data import prepare_training
from lori_cl.training.train import run_job
from lori_cl.training.training_job import TrainingJob, TrainResult, losses

SEEDS = ("data", "mask", "projection", "probe", "calibration", "head", "train")
"""Purposes for which each stage has its own seed."""

PROBE_EXAMPLES = 256
"""Training examples over which the loss of an imported adapter is measured."""


@dataclass(frozen=True)
class StagePlan:
    """A stage to train."""

    opened: OpenRun
    history: Sequence[FinishedStage]
    """The finished stages, in order."""
    task: Task
    title: str
    """Start of the titles of its progress bars."""
    progress: Progress
    callbacks: Sequence[Any] = ()
    """`transformers.TrainerCallback`s of its training."""


@dataclass(frozen=True)
class TrainedStage:
    """A stage that is trained and not scored yet."""

    mask: MaskRecord | None
    result: TrainResult
    finished: FinishedStage
    file_bytes: int


def train_stage(plan: StagePlan) -> TrainedStage:
    """Claim the task's cells, train them and write the stage's artifact."""
    job = _job(plan, "training", "train")
    context = _context(plan, job)
    method = plan.opened.method
    mask = method.begin_stage(context)
    job = _with_examples(job, method.training_examples(context, job.fields))
    result = run_job(job, plan.opened.curriculum.train, plan.progress)
    return _write_stage(plan, context, job, mask, result, {})


def import_stage_adapter(plan: StagePlan) -> TrainedStage:
    """Claim the cells that an imported adapter fills and write the stage's artifact.

    A head is trained if the task needs one and the adapter has none.
    """
    opened, imported = plan.opened, plan.opened.imported
    assert imported is not None, "the run was opened with the adapter to import"
    assert isinstance(opened.method, MaskedMethod), "checked when the run was opened"
    job = replace(_job(plan, "training its head", "train"), checkpoints=None)
    context = _context(plan, job)
    mask = opened.method.import_stage(context, imported.adapter)
    steps = 0
    if job.head is not None and imported.head is not None:
        job.head.load_state_dict(dict(imported.head))
    elif job.head is not None:
        steps = run_job(job, opened.curriculum.train, plan.progress).steps
    with torch.no_grad():
        probe_losses = [float(loss) for loss in context.losses(PROBE_EXAMPLES)]
    weights = imported.adapter.weights
    origin = {
        "base": imported.adapter.base,
        "digest": tensors_digest([*weights.a.items(), *weights.b.items()]),
    }
    result = TrainResult(steps, sum(probe_losses) / len(probe_losses))
    return _write_stage(plan, context, job, mask, result, {"imported": origin})


def _context(plan: StagePlan, job: TrainingJob) -> StageContext:
    opened, history, task = plan.opened, plan.history, plan.task
    seeds = {purpose: opened.seed(purpose, task) for purpose in SEEDS}
    return StageContext(
        task=task.label,
        past=[finished.state for finished in history],
        seeds=seeds,
        tasks_left=len(opened.eval_tasks) - len(history),
        calibrate=lambda epochs, lr: _calibrate(plan, epochs, lr),
        losses=lambda examples: losses(job, opened.curriculum.train, examples, seeds["probe"]),
        n_train=len(job.fields),
        examples_of=lambda label: _examples_of(plan, job, label),
    )


def _examples_of(plan: StagePlan, job: TrainingJob, label: str) -> Sequence[Fields]:
    """Return the tokenised training examples of an earlier task; see `StageContext.examples_of`."""
    opened = plan.opened
    spec = next(eval_task.spec for eval_task in opened.eval_tasks if eval_task.label == label)
    if job.head is not None or kind_of(spec).head(spec, opened.base.width, seed=0) is not None:
        raise InputError(
            f"examples of task '{label}' cannot be replayed in task '{plan.task.label}': each task has a "
            "classification head of its own; give the tasks a prompt, so that a causal language model answers"
        )
    task = next(task for task in opened.run.tasks if task.label == label)
    return prepare_training(opened.workspace, task, opened.curriculum, opened.base).fields


def _with_examples(job: TrainingJob, examples: Sequence[Fields]) -> TrainingJob:
    """Return the job with the examples that the method chose; those of other tasks have no row."""
    if examples is job.fields:
        return job
    rows = {id(fields): row for fields, row in zip(job.fields, job.ids, strict=True)}
    return replace(job, fields=examples, ids=[rows.get(id(fields), -1) for fields in examples])


def _write_stage(
    plan: StagePlan,
    context: StageContext,
    job: TrainingJob,
    mask: MaskRecord | None,
    result: TrainResult,
    extra_metadata: Mapping[str, Any],
) -> TrainedStage:
    """Write the stage's artifact, with metadata about its inputs; return the trained stage."""
    opened, history, task = plan.opened, plan.history, plan.task
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
        "steps": result.steps,
        "projection": mask.projection if mask else None,
        "mask": mask.digest if mask else None,
        "parent": history[-1].artifact if history else None,
        "stands_on": [finished.artifact for finished in history if finished.state.retired_after is None],
        "seeds": context.seeds,
        **extra_metadata,
    }
    content = stage_bytes(outcome.tensors, job.head, metadata)
    artifact = opened.workspace.artifacts.put(content, "safetensors")
    state = StageState(context.task, outcome.tensors, context.seeds)
    return TrainedStage(mask, result, FinishedStage(state, job.head, artifact), len(content))


def _calibrate(plan: StagePlan, epochs: float | None, lr: float) -> None:
    job = _job(plan, "calibrating", "calibration")
    epochs = job.epochs if epochs is None else epochs
    run_job(replace(job, epochs=epochs, lr=lr), plan.opened.curriculum.train, plan.progress)


def _job(plan: StagePlan, what: str, purpose: str) -> TrainingJob:
    opened, task = plan.opened, plan.task
    eval_task = next(t for t in opened.eval_tasks if t.label == task.label)
    kind, train = kind_of(eval_task.spec), opened.curriculum.train
    assert train.lr is not None, "the learning rate is set when the run starts"
    head = kind.head(eval_task.spec, opened.base.width, opened.seed("head", task))
    if head is not None:
        head.to(opened.model.device)
    training_set = opened.training_sets[task.label]
    return TrainingJob(
        title=f"{plan.title}: {what}",
        learner=kind.learner(opened.model, head),
        head=head,
        fields=training_set.fields,
        collate=lambda fields: kind.collate(opened.base.tokenizer, fields),
        epochs=train.epochs_for(task.name),
        lr=train.lr,
        seed=opened.seed(purpose, task),
        ids=[example.id for example in training_set.examples],
        checkpoints=opened.workspace.checkpoints_of(opened.run.name) / f"{purpose}-{_identity(plan)[:16]}",
        callbacks=plan.callbacks if purpose == "train" else (),
        batch_loss=opened.method.batch_loss if purpose == "train" else None,
        before_step=opened.method.before_step if purpose == "train" else None,
        logs=opened.workspace.logs_of(opened.run.name) / f"{task.label}-{purpose}",
    )


def parent_stages(history: Sequence[FinishedStage]) -> tuple[tuple[str, int | None], ...]:
    """Return (artifact, retired_after) of each finished stage, as recorded for the next stage."""
    return tuple((finished.artifact, finished.state.retired_after) for finished in history)


def _identity(plan: StagePlan) -> str:
    """SHA-256 of everything that a stage's training depends on; it selects the stage's checkpoints."""
    opened, task = plan.opened, plan.task
    return digest.of_json(
        {
            "settings": settings_of(opened.curriculum, task),
            "task": task.spec,
            "base": opened.base.digest,
            "stages": parent_stages(plan.history),
            "tasks_left": len(opened.eval_tasks) - len(plan.history),
            "examples": opened.training_sets[task.label].digest,
            "encoding": opened.training_sets[task.label].encoding,
            "environment": result_relevant(opened.environment),
        }
    )
