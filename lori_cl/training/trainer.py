"""Run a training job with transformers.Trainer."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lori_cl.errors import InputError, Interrupted, TrainingDiverged, WorkspaceUnusable
from lori_cl.models.sharded_base import sharded_parameters
from lori_cl.runtime import Progress
from lori_cl.runtime.distributed import is_rank_0, processes, wait
from lori_cl.runtime.progress import Advance
from lori_cl.spec import TrainSpec
from lori_cl.training.batches import LengthSampler
from lori_cl.training.checkpoints import (
    Checkpoint,
    mark_complete,
    newest_checkpoint,
    read_trained,
    write_trained,
)
from lori_cl.training.compilation import check_compiler, compiled
from lori_cl.training.loggers import check_loggers, own_tracker_run
from lori_cl.training.training_job import TrainingJob, TrainResult

LOGGING_STEPS = 10
"""Optimizer steps between two entries of a logger."""

ROWS = "rows"
"""Key of a batch's example indices."""

SHOWN_IDS = 32
"""Maximum number of examples that an error lists."""

DISK_IS_FULL = re.compile(r"inline_container\.cc|iostream error")
"""Matches torch's messages for a failed write; torch raises RuntimeError for every error."""

REMEDY = "nothing of this stage was stored. Lower train.lr, or set train.warmup_steps"
"""End of every message about diverged training."""


def run_job(job: TrainingJob, settings: TrainSpec, progress: Progress) -> TrainResult:
    """Train every parameter of the learner that requires a gradient, with a new optimizer.

    Resumes from the newest complete checkpoint of the same job, bit for bit.
    Raises: TrainingDiverged, if the loss or a weight is not finite; Interrupted, after a step whose
    checkpoint is written; WorkspaceUnusable, if a checkpoint cannot be written.
    """
    job = job.packed()
    job.learner.train()
    steps = optimizer_steps(len(job.fields), job.epochs, settings)
    done = newest_checkpoint(job.checkpoints) if job.checkpoints else None
    with tempfile.TemporaryDirectory() as scratch, progress.bar(job.title, steps) as advance:
        if done is not None:
            advance(done.step)
        if done is not None and done.step >= steps:  # the Trainer would train one extra step
            loss_sum = read_trained(done.folder, job.learner)
        else:
            folder = str(job.logs) if settings.loggers else scratch
            compile_it = bool(settings.torch_compile)
            with own_tracker_run(settings.loggers), compiled(job.learner, enabled=compile_it):
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


def optimizer_steps(examples: int, epochs: float, settings: TrainSpec) -> int:
    """Return the number of optimizer steps of so many epochs over the training examples."""
    batches = math.ceil(examples / (settings.batch_size * processes()))
    return math.ceil(math.ceil(batches / settings.gradient_accumulation) * epochs)


def check_settings(settings: TrainSpec) -> None:
    """Check, before training, that the Trainer accepts every name in the settings.

    Raises: InputError, with the Trainer's message, or with the extra that installs a missing logger.
    """
    check_loggers(settings.loggers)
    if settings.torch_compile:
        check_compiler()
    trial = TrainingJob("trial", nn.Linear(1, 1), None, (), lambda _: {}, epochs=1.0, lr=1e-3, seed=0)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # Many optimizers, schedules and loggers detect a missing package or argument only when created.
            trainer = Trainer(model=trial.learner, args=arguments(settings, trial, scratch))
            trainer.create_optimizer_and_scheduler(num_training_steps=1)
    except (ValueError, ImportError, TypeError, RuntimeError, KeyError) as error:
        raise InputError(f"train: {' '.join(str(error).split())}") from error


def arguments(settings: TrainSpec, job: TrainingJob, folder: str) -> TrainingArguments:
    """Return the Trainer's arguments; loggers write to the folder."""
    return TrainingArguments(
        output_dir=folder,
        run_name=job.title,
        logging_steps=LOGGING_STEPS,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 1,
        num_train_epochs=job.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=job.lr,
        weight_decay=settings.weight_decay,
        optim=settings.optimizer,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        # A and the earlier cells are buffers. They are equal in every process, never change and are many
        # times larger than a step's gradients.
        ddp_broadcast_buffers=False,
        **_checkpointing(settings),
        seed=job.seed,
        data_seed=job.seed,
        report_to=list(settings.loggers) or "none",
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
    )


def _checkpointing(settings: TrainSpec) -> dict[str, Any]:
    if not settings.gradient_checkpointing:
        return {}
    # Reentrant checkpointing gives no gradient if only the adapter requires one.
    return {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}


class JobTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    """Trainer of one job: the head has its own learning rate, and checkpoints hold no base model."""

    def __init__(self, job: TrainingJob, settings: TrainSpec, folder: str, advance: Advance) -> None:
        self._job = job
        self._head_lr = settings.head_lr
        self._loss_sum = 0.0
        self._steps = _Steps(advance)
        # FSDP gathers the base model, which is frozen: DDP must neither send it nor expect gradients.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            job.learner, sharded_parameters(job.learner)
        )
        super().__init__(
            model=job.learner,
            args=arguments(settings, job, folder),
            train_dataset=list(enumerate(job.fields)),
            data_collator=self._collate,
        )
        for printer in (PrinterCallback, ProgressCallback):
            self.remove_callback(printer)
        for callback in (self._steps, _BeforeStep(job), *job.callbacks):
            self.add_callback(callback)

    def train_from(self, done: Checkpoint | None) -> float:
        """Train to the end, from the checkpoint if given; return the sum of the losses of all steps.

        Raises: TrainingDiverged, Interrupted, WorkspaceUnusable; see `run_job`.
        """
        self.train(resume_from_checkpoint=str(done.folder) if done else None)
        if self._steps.interrupted is not None:
            raise self._steps.interrupted
        return self._total_loss_sum()

    def _total_loss_sum(self) -> float:
        """Return the sum of the losses of all steps, averaged over the processes."""
        local_sum = torch.tensor(self._loss_sum, dtype=torch.float64, device=self.args.device)
        return float(self.accelerator.reduce(local_sum, "mean"))

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        """Run one batch forward and backward."""
        rows = inputs.pop(ROWS)
        loss: torch.Tensor = super().training_step(model, inputs, *rest)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(self._divergence(value, rows.tolist()))
        self._loss_sum += value
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> Any:
        """Return the loss of one batch, as the method changes it."""
        loss: torch.Tensor = super().compute_loss(model, inputs, *rest, **options)
        return loss if self._job.batch_loss is None else self._job.batch_loss(model, inputs, loss)

    def _collate(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, torch.Tensor]:
        """Collate a batch with the indices of its training examples."""
        batch = self._job.collate([fields for _, fields in rows])
        return {**batch, ROWS: torch.tensor([row for row, _ in rows])}

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return the order of the examples."""
        if not self._job.group_by_length:
            return super()._get_train_sampler(train_dataset)
        lengths = [len(fields["input_ids"]) for fields in self._job.fields]
        step = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * processes()
        return LengthSampler(lengths, step, self._job.seed)

    def create_optimizer(self, *_: Any) -> Any:
        """Create the optimizer named by the arguments, for the adapter's values and the head."""
        if getattr(self, "optimizer", None) is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(self._groups(), **options)
        return self.optimizer

    def _divergence(self, loss: float, rows: Sequence[int]) -> str:
        job, ids = self._job, [str(i) for row in rows for i in self._job.ids[row]]
        shown = ", ".join(ids[:SHOWN_IDS]) + (f" and {len(ids) - SHOWN_IDS} more" if ids[SHOWN_IDS:] else "")
        return (
            f"{job.title}: the loss became {loss} at step {self.state.global_step + 1:,}, on the training "
            f"examples of rows {shown}, at learning rate {self._get_learning_rate():g}; {REMEDY}"
        )

    def _groups(self) -> list[dict[str, Any]]:
        head = list(self._job.head.parameters()) if self._job.head else []
        in_head = {id(parameter) for parameter in head}
        adapter = [p for p in self._job.learner.parameters() if p.requires_grad and id(p) not in in_head]
        decay = {"weight_decay": self.args.weight_decay}
        groups = [{"params": adapter, "lr": self._job.lr, **decay}]
        return [*groups, {"params": head, "lr": self._head_lr, **decay}] if head else groups

    # The following methods replace the Trainer's, which would write and read the whole model.

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._job.checkpoints)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self._job.checkpoints
        if folder is None:
            return
        self._reduced_loss_sum = self._total_loss_sum()
        try:
            self._remove_incomplete(folder)
            super()._save_checkpoint(model, trial)
            wait()  # every process writes the state of its random generators
            if is_rank_0():
                mark_complete(folder, self.state.global_step)
        except (
            OSError,
            RuntimeError,
            SafetensorError,
        ) as error:  # torch and safetensors raise their own types
            if isinstance(error, RuntimeError) and not DISK_IS_FULL.search(str(error)):
                raise  # a lost process, or a device out of memory
            raise WorkspaceUnusable(
                f"a checkpoint cannot be written to {folder}: {' '.join(str(error).split())}; "
                "free disk space, or set train.save_steps: null"
            ) from error

    def _remove_incomplete(self, folder: Path) -> None:
        """Remove an incomplete checkpoint of this step: overwriting would change hard-linked files."""
        incomplete = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if is_rank_0() and incomplete.exists():
            shutil.rmtree(incomplete)
        wait()

    def _save(self, output_dir: str, state_dict: Any = None) -> None:
        if is_rank_0():
            write_trained(Path(output_dir), self.model, self._reduced_loss_sum)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._loss_sum = read_trained(Path(resume_from_checkpoint), self.model)


class _BeforeStep(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Lets the method change gradients before every optimizer step."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job

    def on_pre_optimizer_step(self, _: Any, __: Any, control: Any, **___: Any) -> None:
        """All gradients of the step are accumulated and clipped."""
        if self._job.before_step is not None:
            self._job.before_step()


class _Steps(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Report every optimizer step to the progress bar; stop training if it raises Interrupted."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.interrupted: Interrupted | None = None

    def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
        """Report one finished step."""
        try:
            self._advance(1)
        except Interrupted as interrupted:
            self.interrupted = interrupted
            control.should_save = control.should_training_stop = True
