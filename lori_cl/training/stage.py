"""One stage's training, by transformers.Trainer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from lori_cl.errors import InputError, Interrupted, TrainingDiverged, WorkspaceUnusable
from lori_cl.spec import TrainSpec
from lori_cl.training.checkpoints import Checkpoint, complete, newest, read_trained, write_trained
from lori_cl.training.launch import is_writer, processes, wait
from lori_cl.training.observer import Advance, Observer

LOGGING_STEPS = 10
"""Optimizer steps between two lines of a logger."""

ROWS = "rows"
"""What a batch calls the numbers of its examples."""

SHOWN_IDS = 32
"""Examples that an error names one by one."""

REMEDY = "nothing of this stage was kept. Lower train.lr, or set train.warmup_steps"


@dataclass(frozen=True)
class Lesson:
    """What is trained, on what, and how long."""

    title: str
    """What the progress bar says."""
    learner: nn.Module
    head: nn.Module | None
    fields: Sequence[dict[str, Any]]
    """The features of every training example."""
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, torch.Tensor]]
    epochs: float
    lr: float
    seed: int
    ids: Sequence[int] = ()
    """Of every training example, its row in the source."""
    checkpoints: Path | None = None
    """Where it keeps its state while it is under way; None keeps none."""
    logs: Path = Path()
    """Where loggers that write files write them."""


@dataclass(frozen=True)
class Taught:
    """What training reports."""

    steps: int
    """Optimizer steps."""
    loss: float
    """Mean over the steps."""


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
            loss_sum = _trained(lesson, settings, advance, scratch, done)
    lesson.learner.eval()
    _check_finite(lesson)
    return Taught(steps, loss_sum / steps)


def _trained(
    lesson: Lesson, settings: TrainSpec, advance: Advance, scratch: str, done: Checkpoint | None
) -> float:
    """Train to the end; the sum of the losses of all steps."""
    watch = _Steps(advance)
    trainer = _StageTrainer(
        lesson,
        settings.head_lr,
        model=lesson.learner,
        args=_arguments(settings, lesson, str(lesson.logs) if settings.loggers else scratch),
        train_dataset=list(enumerate(lesson.fields)),
        data_collator=lambda rows: _numbered(lesson, rows),
        callbacks=[watch],
    )
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    trainer.train(resume_from_checkpoint=str(done.folder) if done else None)
    if watch.interrupted is not None:
        raise watch.interrupted
    return trainer.loss_sum()


def _numbered(lesson: Lesson, rows: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, torch.Tensor]:
    """A batch that knows which training examples it holds."""
    batch = lesson.collate([fields for _, fields in rows])
    return {**batch, ROWS: torch.tensor([row for row, _ in rows])}


def losses(lesson: Lesson, batch_size: int, examples: int, seed: int) -> Iterator[torch.Tensor]:
    """The loss on each batch of so many training examples, drawn by the seed; nothing is trained.

    Dropout is off; whether there is a gradient is the caller's choice, and none is left behind.
    """
    lesson.learner.eval()
    device = next(lesson.learner.parameters()).device
    order = torch.randperm(len(lesson.fields), generator=torch.Generator().manual_seed(seed))
    chosen = order[:examples].tolist()
    try:
        for start in range(0, len(chosen), batch_size):
            batch = lesson.collate([lesson.fields[i] for i in chosen[start : start + batch_size]])
            yield lesson.learner(**{name: tensor.to(device) for name, tensor in batch.items()})["loss"]
    finally:
        lesson.learner.zero_grad()


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
            trainer = Trainer(model=trial.learner, args=_arguments(settings, trial, scratch))
            trainer.create_optimizer_and_scheduler(num_training_steps=1)
    except (ValueError, ImportError, TypeError, RuntimeError, KeyError) as error:
        raise InputError(f"train: {' '.join(str(error).split())}") from error


def _arguments(settings: TrainSpec, lesson: Lesson, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        run_name=lesson.title,
        logging_steps=LOGGING_STEPS,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 1,
        num_train_epochs=lesson.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=lesson.lr,
        weight_decay=settings.weight_decay,
        optim=settings.optimizer,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        **_checkpointing(settings),
        seed=lesson.seed,
        data_seed=lesson.seed,
        report_to=list(settings.loggers) or "none",
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
    )


def _checkpointing(settings: TrainSpec) -> dict[str, Any]:
    if not settings.gradient_checkpointing:
        return {}
    # The reentrant kind gives no gradient where nothing but the adapter requires one.
    return {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}


class _StageTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    """A Trainer whose head learns at a rate of its own, and whose checkpoints hold what trains and no base
    model."""

    def __init__(self, lesson: Lesson, head_lr: float, **options: Any) -> None:
        super().__init__(**options)
        self._lesson = lesson
        self._head_lr = head_lr
        self._loss_sum = 0.0

    def loss_sum(self) -> float:
        """Of the losses of all steps; where there are several processes, the mean of theirs."""
        of_this_process = torch.tensor(self._loss_sum, dtype=torch.float64, device=self.args.device)
        return float(self.accelerator.reduce(of_this_process, "mean"))

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        """One batch, forward and backward."""
        rows = inputs.pop(ROWS)
        loss: torch.Tensor = super().training_step(model, inputs, *rest)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(self._divergence(value, rows.tolist()))
        self._loss_sum += value
        return loss

    def create_optimizer(self, *_: Any) -> Any:
        """The optimizer that the arguments name, over the adapter's values and the head."""
        if getattr(self, "optimizer", None) is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(self._groups(), **options)
        return self.optimizer

    def _divergence(self, loss: float, rows: Sequence[int]) -> str:
        lesson, ids = self._lesson, [str(self._lesson.ids[row]) for row in rows]
        shown = ", ".join(ids[:SHOWN_IDS]) + (f" and {len(ids) - SHOWN_IDS} more" if ids[SHOWN_IDS:] else "")
        return (
            f"{lesson.title}: the loss became {loss} at step {self.state.global_step + 1:,}, on the training "
            f"examples of rows {shown}, at learning rate {self._get_learning_rate():g}; {REMEDY}"
        )

    def _groups(self) -> list[dict[str, Any]]:
        head = list(self._lesson.head.parameters()) if self._lesson.head else []
        in_head = {id(parameter) for parameter in head}
        adapter = [p for p in self._lesson.learner.parameters() if p.requires_grad and id(p) not in in_head]
        decay = {"weight_decay": self.args.weight_decay}
        groups = [{"params": adapter, "lr": self._lesson.lr, **decay}]
        return [*groups, {"params": head, "lr": self._head_lr, **decay}] if head else groups

    # What follows stands in for the Trainer's own, which would write and read the whole model.

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._lesson.checkpoints)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self._lesson.checkpoints
        if folder is None:
            return
        self._reduced_loss_sum = self.loss_sum()
        try:
            super()._save_checkpoint(model, trial)
            wait()  # every process writes the state of its own random generators
            if is_writer():
                complete(folder, self.state.global_step)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have their own
            raise WorkspaceUnusable(
                f"a checkpoint cannot be written to {folder}: {' '.join(str(error).split())}; "
                "make room, or set train.save_steps: null"
            ) from error

    def _save(self, output_dir: str, state_dict: Any = None) -> None:
        if is_writer():
            write_trained(Path(output_dir), self.model, self._reduced_loss_sum)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._loss_sum = read_trained(Path(resume_from_checkpoint), self.model)


class _Steps(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Tell the observer of every optimizer step, and end after one where it asks for that."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.interrupted: Interrupted | None = None

    def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
        """One more step is done."""
        try:
            self._advance(1)
        except Interrupted as interrupted:
            self.interrupted = interrupted
            control.should_save = control.should_training_stop = True
