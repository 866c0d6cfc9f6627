"""Train one stage, or import its adapter, and write its artifact."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lori_cl import digest
from lori_cl.adapters import tensors_digest
from lori_cl.errors import InputError
from lori_cl.evaluation.stage_file import stage_bytes
from lori_cl.methods import Fields, MaskedMethod, StageContext, StageState
from lori_cl.model_traits import input_device
from lori_cl.registry import MaskRecord, Stage, Task
from lori_cl.runtime import Progress
from lori_cl.runtime.environment import result_relevant
from lori_cl.runtime.memory import memory_errors
from lori_cl.task_data.eval_tasks import max_length_of
from lori_cl.task_data.protected_texts import protected_batches
from lori_cl.task_data.training_sets import prepare_training
from lori_cl.tasks import kind_of
from lori_cl.training.batches import is_grouped
from lori_cl.training.packing import packing_of
from lori_cl.training.resume_checks import parent_stages, settings_of
from lori_cl.training.run_setup import OpenRun
from lori_cl.training.trainer import run_job
from lori_cl.training.training_job import TrainingJob, TrainResult, losses

SEEDS = ("data", "mask", "projection", "probe", "calibration", "head", "train")
"""Purposes for which each stage has its own seed."""

PROBE_EXAMPLES = 256
"""Training examples over which the loss of an imported adapter is measured."""


@dataclass(frozen=True)
class StageTraining:
    """The training of a run's next stage."""

    opened: OpenRun
    history: Sequence[StageState]
    """The finished stages, in order."""
    task: Task
    progress: Progress
    callbacks: Sequence[Any] = ()
    """`transformers.TrainerCallback`s."""

    @property
    def title(self) -> str:
        """Start of the titles of its progress bars: 'stage 2/5 agnews'."""
        return f"stage {len(self.history) + 1}/{len(self.opened.eval_tasks)} {self.task.label}"

    def train(self) -> tuple[Stage, StageState]:
        """Allocate the task's cells, train them, and return the stage's record and state."""
        with memory_errors(self.title):
            return self._train()

    def _train(self) -> tuple[Stage, StageState]:
        began = time.perf_counter()
        method, job = self.opened.method, self._job("training", "train")
        context = self._context(job)
        mask = method.begin_stage(context)
        job = _with_examples(job, method.training_examples(context, job.fields))
        result = run_job(job, self.opened.curriculum.train, self.progress)
        return self._finish(context, job, mask, result, began, {})

    def import_adapter(self) -> tuple[Stage, StageState]:
        """Allocate the cells that the imported adapter fills; return the stage's record and state.

        A head is trained if the task needs one and the adapter has none.
        """
        with memory_errors(self.title):
            return self._import_adapter()

    def _import_adapter(self) -> tuple[Stage, StageState]:
        began = time.perf_counter()
        opened, imported = self.opened, self.opened.imported
        assert imported is not None, "the run was opened with the adapter to import"
        assert isinstance(opened.method, MaskedMethod), "checked when the run was opened"
        job = replace(self._job("training its head", "train"), checkpoints=None)
        context = self._context(job)
        mask = opened.method.import_stage(context, imported.adapter)
        steps = 0
        if job.head is not None and imported.head is not None:
            job.head.load_state_dict(dict(imported.head))
        elif job.head is not None:
            steps = run_job(job, opened.curriculum.train, self.progress).steps
        with torch.no_grad():
            probe_losses = [float(loss) for loss in context.losses(PROBE_EXAMPLES)]
        weights = imported.adapter.weights
        weights_digest = tensors_digest([*weights.a.items(), *weights.b.items()])
        result = TrainResult(steps, sum(probe_losses) / len(probe_losses))
        origin = {"imported": {"base": imported.adapter.base, "digest": weights_digest}}
        return self._finish(context, job, mask, result, began, origin)

    def _context(self, job: TrainingJob) -> StageContext:
        seeds = {purpose: self.opened.seed(purpose, self.task) for purpose in SEEDS}
        settings = self.opened.curriculum.train
        return StageContext(
            task=self.task.label,
            past=self.history,
            seeds=seeds,
            tasks_left=len(self.opened.eval_tasks) - len(self.history),
            calibrate=self._calibrate,
            losses=lambda examples: losses(job, settings, examples, seeds["probe"]),
            n_train=len(job.fields),
            epochs=job.epochs,
            examples_of=lambda label: self._examples_of(job, label),
            read_protected=self._read_protected,
        )

    def _read_protected(self) -> None:
        """Run the model on the protected texts; see `StageContext.read_protected`."""
        opened = self.opened
        opened.model.eval()
        with torch.no_grad():
            for batch in protected_batches(opened.curriculum, opened.base):
                opened.model(**batch)

    def _job(self, what: str, purpose: str) -> TrainingJob:
        opened, task = self.opened, self.task
        eval_task = next(t for t in opened.eval_tasks if t.label == task.label)
        kind, train = kind_of(eval_task.spec), opened.curriculum.train
        assert train.lr is not None, "the learning rate is set when the run starts"
        head = kind.head(eval_task.spec, opened.base.width, opened.seed("head", task))
        if head is not None:
            head.to(input_device(opened.model))
        training_set = opened.training_sets[task.label]
        checkpoints = opened.workspace.checkpoints_of(opened.run.name)
        lengths = [len(fields["input_ids"]) for fields in training_set.fields]
        grouped = not train.packing and is_grouped(
            train.group_by_length, kind.group_by_length, lengths, train.batch_size
        )
        packing = None
        if train.packing:
            packing = packing_of(opened.base, max_length_of(opened.curriculum, opened.base.context))
        return TrainingJob(
            title=f"{self.title}: {what}",
            learner=kind.learner(opened.model, head),
            head=head,
            fields=training_set.fields,
            collate=lambda fields: kind.collate(opened.base.tokenizer, fields),
            epochs=train.epochs_for(task.name),
            lr=train.lr,
            seed=opened.seed(purpose, task),
            ids=[(example.id,) for example in training_set.examples],
            checkpoints=checkpoints / f"{purpose}-{self._identity(grouped)[:16]}",
            callbacks=self.callbacks if purpose == "train" else (),
            batch_loss=opened.method.batch_loss if purpose == "train" else None,
            before_step=opened.method.before_step if purpose == "train" else None,
            group_by_length=grouped,
            packing=packing,
            logs=opened.workspace.logs_of(opened.run.name) / f"{task.label}-{purpose}",
        )

    def _calibrate(self, epochs: float | None, lr: float) -> None:
        """Train the open cells on the task for so many epochs; see `StageContext.calibrate`."""
        job = self._job("calibrating", "calibration")
        epochs = job.epochs if epochs is None else epochs
        run_job(replace(job, epochs=epochs, lr=lr), self.opened.curriculum.train, self.progress)

    def _examples_of(self, job: TrainingJob, label: str) -> Sequence[Fields]:
        """Return the tokenised training examples of an earlier task; see `StageContext.examples_of`."""
        opened = self.opened
        spec = next(eval_task.spec for eval_task in opened.eval_tasks if eval_task.label == label)
        if job.head is not None or kind_of(spec).head(spec, opened.base.width, seed=0) is not None:
            raise InputError(
                f"examples of task '{label}' cannot be replayed in task '{self.task.label}': each task has a "
                "classification head of its own; give the tasks a prompt, so that a causal language model "
                "answers"
            )
        task = next(task for task in opened.run.tasks if task.label == label)
        return prepare_training(opened.workspace, task, opened.curriculum, opened.base).fields

    def _identity(self, grouped: bool) -> str:
        """SHA-256 of everything that a stage's training depends on; it selects the stage's checkpoints."""
        opened, task = self.opened, self.task
        return digest.of_json(
            {
                "settings": settings_of(opened.curriculum, task),
                "task": task.spec,
                "base": opened.base.digest,
                "stages": parent_stages(self.history),
                "tasks_left": len(opened.eval_tasks) - len(self.history),
                "examples": opened.training_sets[task.label].digest,
                "encoding": opened.training_sets[task.label].encoding,
                "environment": result_relevant(opened.environment),
                # Omitted otherwise, so that checkpoints of earlier versions stay valid.
                **({"group_by_length": True} if grouped else {}),
            }
        )

    def _finish(
        self,
        context: StageContext,
        job: TrainingJob,
        mask: MaskRecord | None,
        result: TrainResult,
        began: float,
        extra_metadata: Mapping[str, Any],
    ) -> tuple[Stage, StageState]:
        """Freeze the stage and write its artifact; return its record, not scored yet, and its state."""
        opened, task = self.opened, self.task
        outcome = opened.method.end_stage(context)
        if mask is not None:
            mask = replace(mask, directions=outcome.directions)
        training_set = opened.training_sets[task.label]
        record = Stage(
            position=len(self.history) + 1,
            task=task.label,
            artifact="",
            parent=self.history[-1].artifact if self.history else None,
            mask=mask,
            train_digest=training_set.digest,
            n_train=len(training_set.fields),
            n_truncated=training_set.n_truncated,
            steps=result.steps,
            final_loss=result.loss,
            elapsed_s=0.0,
            train_s=0.0,
            peak_memory_bytes=0,
            seeds=context.seeds,
            environment=opened.environment,
        )
        content = stage_bytes(outcome.tensors, job.head, {**self._metadata(record), **extra_metadata})
        artifact = opened.workspace.artifacts.put(content, "safetensors")
        state = StageState(task.label, outcome.tensors, context.seeds, head=job.head, artifact=artifact)
        return replace(record, artifact=artifact, train_s=time.perf_counter() - began), state

    def _metadata(self, record: Stage) -> dict[str, Any]:
        """Return the metadata of the stage's file: its inputs and its parent."""
        opened, mask = self.opened, record.mask
        return {
            "run": opened.run.name,
            "stage": record.position,
            "task": record.task,
            "base": opened.base.digest,
            "settings": settings_of(opened.curriculum, self.task),
            "train_digest": record.train_digest,
            "n_train": record.n_train,
            "n_truncated": record.n_truncated,
            "steps": record.steps,
            "projection": mask.projection if mask else None,
            "mask": mask.digest if mask else None,
            "parent": record.parent,
            "stands_on": [state.artifact for state in self.history if state.retired_after is None],
            "seeds": record.seeds,
        }


def _with_examples(job: TrainingJob, examples: Sequence[Fields]) -> TrainingJob:
    """Return the job with the examples that the method chose; those of other tasks have no row."""
    if examples is job.fields:
        return job
    rows = {id(fields): row for fields, row in zip(job.fields, job.ids, strict=True)}
    return replace(job, fields=examples, ids=[rows.get(id(fields), (-1,)) for fields in examples])
