"""One stage's training, by transformers.Trainer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from lori_cl.errors import InputError, TrainingDiverged
from lori_cl.spec import TrainSpec
from lori_cl.training.launch import processes
from lori_cl.training.observer import Advance, Observer

LOGGING_STEPS = 10
"""Optimizer steps between two lines of a logger."""


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

    Raises: TrainingDiverged, if the loss or a weight is not a finite number.
    """
    lesson.learner.train()
    steps = _steps(lesson, settings)
    with tempfile.TemporaryDirectory() as scratch, observer.bar(lesson.title, steps) as advance:
        trainer = _StageTrainer(
            lesson,
            settings.head_lr,
            model=lesson.learner,
            args=_arguments(settings, lesson, str(lesson.logs) if settings.loggers else scratch),
            train_dataset=lesson.fields,
            data_collator=lesson.collate,
            callbacks=[_Steps(advance)],
        )
        for printer in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(printer)
        result = trainer.train()
    lesson.learner.eval()
    _check_finite(lesson, result.training_loss)
    return Taught(result.global_step, result.training_loss)


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


def _check_finite(lesson: Lesson, loss: float) -> None:
    # The mean loss knows nothing of what the last step did.
    if math.isfinite(loss) and all(
        p.isfinite().all() for p in lesson.learner.parameters() if p.requires_grad
    ):
        return
    what = "the weights are no longer finite" if math.isfinite(loss) else f"the loss became {loss}"
    raise TrainingDiverged(
        f"{lesson.title}: {what} at learning rate {lesson.lr:g}; "
        "nothing of this stage was kept. Lower train.lr, or set train.warmup_steps"
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
        save_strategy="no",
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
    """A Trainer whose head learns at a rate of its own."""

    def __init__(self, lesson: Lesson, head_lr: float, **options: Any) -> None:
        super().__init__(**options)
        self._lesson = lesson
        self._head_lr = head_lr

    def create_optimizer(self, *_: Any) -> Any:
        """The optimizer that the arguments name, over the adapter's values and the head."""
        if getattr(self, "optimizer", None) is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(self._groups(), **options)
        return self.optimizer

    def _groups(self) -> list[dict[str, Any]]:
        head = list(self._lesson.head.parameters()) if self._lesson.head else []
        in_head = {id(parameter) for parameter in head}
        adapter = [p for p in self._lesson.learner.parameters() if p.requires_grad and id(p) not in in_head]
        decay = {"weight_decay": self.args.weight_decay}
        groups = [{"params": adapter, "lr": self._lesson.lr, **decay}]
        return [*groups, {"params": head, "lr": self._head_lr, **decay}] if head else groups


class _Steps(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Tell the observer of every optimizer step."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """One more step is done."""
        self._advance(1)
