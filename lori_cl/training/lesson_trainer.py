"""transformers.Trainer, as a lesson needs it."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lori_cl.errors import Interrupted, TrainingDiverged, WorkspaceUnusable
from lori_cl.spec import TrainSpec
from lori_cl.training.checkpoints import Checkpoint, complete, read_trained, write_trained
from lori_cl.training.launch import is_writer, wait
from lori_cl.training.lesson import Lesson
from lori_cl.training.observer import Advance

LOGGING_STEPS = 10
"""Optimizer steps between two lines of a logger."""

ROWS = "rows"
"""What a batch calls the numbers of its examples."""

SHOWN_IDS = 32
"""Examples that an error names one by one."""

DISK_IS_FULL = re.compile(r"inline_container\.cc|iostream error")
"""How torch, of which every error is a RuntimeError, says that it cannot write a file."""

REMEDY = "nothing of this stage was kept. Lower train.lr, or set train.warmup_steps"
"""The end of every error of training that diverged."""


def arguments(settings: TrainSpec, lesson: Lesson, folder: str) -> TrainingArguments:
    """What the Trainer is told; loggers write into the folder."""
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
        # A and the earlier cells are buffers, the same in every process and never written: many times what
        # a step's gradients are.
        ddp_broadcast_buffers=False,
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


class LessonTrainer(Trainer):  # type: ignore[misc]  # transformers ships no types
    """Trains a lesson: its head at a rate of its own, and no base model in its checkpoints."""

    def __init__(self, lesson: Lesson, settings: TrainSpec, folder: str, advance: Advance) -> None:
        self._lesson = lesson
        self._head_lr = settings.head_lr
        self._loss_sum = 0.0
        self._steps = _Steps(advance)
        super().__init__(
            model=lesson.learner,
            args=arguments(settings, lesson, folder),
            train_dataset=list(enumerate(lesson.fields)),
            data_collator=self._collate,
        )
        for printer in (PrinterCallback, ProgressCallback):
            self.remove_callback(printer)
        self.add_callback(self._steps)

    def train_on(self, done: Checkpoint | None) -> float:
        """Train to the end, from the checkpoint where there is one; the sum of the losses of all steps.

        Raises: TrainingDiverged, Interrupted and WorkspaceUnusable, as `teach` says.
        """
        self.train(resume_from_checkpoint=str(done.folder) if done else None)
        if self._steps.interrupted is not None:
            raise self._steps.interrupted
        return self._loss_sum_of_all()

    def _loss_sum_of_all(self) -> float:
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

    def _collate(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, torch.Tensor]:
        """A batch that knows which training examples it holds."""
        batch = self._lesson.collate([fields for _, fields in rows])
        return {**batch, ROWS: torch.tensor([row for row, _ in rows])}

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
        self._reduced_loss_sum = self._loss_sum_of_all()
        try:
            self._remove_broken_off(folder)
            super()._save_checkpoint(model, trial)
            wait()  # every process writes the state of its own random generators
            if is_writer():
                complete(folder, self.state.global_step)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have their own
            if isinstance(error, RuntimeError) and not DISK_IS_FULL.search(str(error)):
                raise  # another process that was lost, or a device without memory
            raise WorkspaceUnusable(
                f"a checkpoint cannot be written to {folder}: {' '.join(str(error).split())}; "
                "make room, or set train.save_steps: null"
            ) from error

    def _remove_broken_off(self, folder: Path) -> None:
        """Remove a checkpoint of this step that was not completed: what has a second name (hard link) in it
        would be changed under both."""
        broken_off = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if is_writer() and broken_off.exists():
            shutil.rmtree(broken_off)
        wait()

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
