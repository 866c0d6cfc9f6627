"""A curriculum: base model, method, adapter and training settings, and an ordered list of tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from lori_cl.errors import SpecError
from lori_cl.spec.base import RUN_NAME, Count, Name, Number, Spec
from lori_cl.spec.complaints import shown


class View(StrEnum):
    """Which cells are active when a task is scored."""

    AS_TRAINED = "as_trained"
    """The adapter as it stood when that task's stage ended."""
    CURRENT = "current"
    """Everything learned so far: what a model without a task id runs."""


class ModelSpec(Spec):
    """The frozen base model."""

    path: str = Field(min_length=1)
    """A hub id, a local folder, or `package:NAME/FOLDER` for weights inside an installed package."""
    revision: str | None = None
    """The commit of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the frozen weights are held in; the adapter's values are always float32."""


class AdapterSpec(Spec):
    """The adapter: ΔW = alpha / rank · (B ⊙ M) A at every site."""

    rank: int = Field(default=32, strict=True, ge=1, le=16_384)
    alpha: Number = Field(default=64.0, gt=0)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """`all-linear`, or the ends of module names, such as [q_proj, v_proj]."""
    projection: Literal["shared"] = "shared"
    """One frozen A for the whole run."""
    distribution: Literal["uniform", "normal"] = "uniform"
    """What A is drawn from: U(±1/√d_in), or a normal of the same variance, 1/(3·d_in)."""

    @field_validator("targets", mode="before")
    @classmethod
    def _names_targets(cls, value: Any) -> Any:
        listed = isinstance(value, list | tuple) and value and all(isinstance(v, str) and v for v in value)
        if value != "all-linear" and not listed:
            wanted = "'all-linear' or a list such as [q_proj, v_proj]"
            raise ValueError(f"'adapter.targets' should be {wanted}, not {shown(value)}")
        return value


class CalibrationSpec(Spec):
    """The short dense training (LoRI-D) that `magnitude` masks are read from."""

    epochs: Number | None = Field(default=None, gt=0)
    """Passes over the training examples; None means as many as the stage itself."""
    lr: Number | None = Field(default=None, gt=0, le=1e30)
    """Learning rate; None means a tenth of `train.lr`, as in LoRI's published settings (5e-5 to 5e-4)."""


class MasksSpec(Spec):
    """How each task's cells are chosen from the free ones."""

    strategy: str = "magnitude"
    density: Number = Field(default=0.1, gt=0, le=1)
    """Fraction of all cells that one task claims."""
    granularity: Literal["model"] = "model"
    """The cells compete over the whole model."""
    calibration: CalibrationSpec = CalibrationSpec()


class TrainSpec(Spec):
    """How one stage trains; everything here is handed to transformers.Trainer."""

    epochs: Number = Field(default=1.0, gt=0, le=1e6)
    epochs_of: dict[Name, Annotated[Number, Field(gt=0, le=1e6)]] = Field(default={})
    """By a task's name: as many epochs instead."""
    batch_size: Count = 32
    """Examples a step and device."""
    lr: Number | None = Field(default=None, gt=0, le=1e30)
    """Peak learning rate of the adapter; None means the method's own default."""
    head_lr: Number = Field(default=5e-3, gt=0, le=1e30)
    """Peak learning rate of a classification head."""
    max_length: Count = 128
    """Tokens; longer texts are truncated and counted."""
    limit: Count | None = None
    """Learn from so many training examples, drawn by the task's seed; None takes all."""
    optimizer: str = "adamw_torch"
    """A name that transformers.TrainingArguments knows as `optim`."""
    weight_decay: Number = Field(default=0.0, ge=0)
    """Decay of this stage's own cells and head; earlier cells cannot decay."""
    scheduler: str = "constant"
    """A name that transformers.TrainingArguments knows as `lr_scheduler_type`."""
    warmup_steps: int = Field(default=0, ge=0, strict=True)
    gradient_accumulation: Count = 1
    """Batches a step."""
    max_grad_norm: Number = Field(default=1.0, ge=0)
    """Clip the gradient's norm; 0 does not clip."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the forward and backward pass."""
    gradient_checkpointing: bool = False
    loggers: tuple[str, ...] = ()
    """Names that transformers.TrainingArguments knows as `report_to`."""

    def epochs_for(self, task: str) -> float:
        """Passes over the training examples of a task, by its name."""
        return self.epochs_of.get(task, self.epochs)


class EvalSpec(Spec):
    """How tasks are scored after every stage."""

    limit: Count | None = None
    """Score so many examples of a task's eval set, drawn by the task's seed; None scores all."""
    batch_size: Count = 64
    views: tuple[View, ...] = Field(default=(View.AS_TRAINED, View.CURRENT), min_length=1)

    @field_validator("views")
    @classmethod
    def _names_each_view_once(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        twice = [view for view in views if views.count(view) > 1]
        if twice:
            raise ValueError(f"'eval.views' names '{twice[0]}' twice")
        return views


class CurriculumSpec(Spec):
    """What `lori-cl run` is given."""

    name: Name
    model: ModelSpec
    method: str = "lori"
    tasks: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(default=0, strict=True, ge=0, lt=2**31)
    adapter: AdapterSpec = AdapterSpec()
    masks: MasksSpec = MasksSpec()
    train: TrainSpec = TrainSpec()
    eval: EvalSpec = EvalSpec()

    @field_validator("tasks")
    @classmethod
    def _names_each_task_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        twice = [task for task in tasks if tasks.count(task) > 1]
        if twice:
            raise ValueError(
                f"tasks name '{twice[0]}' twice; to learn it again, change its file and add it: "
                "it becomes a new version"
            )
        return tasks

    def run_name(self, given: str | None) -> str:
        """The name that the user gave, or else curriculum-method-seed.

        Raises: SpecError, if the name is none for a file or a command line.
        """
        if given is None:
            return self.default_run_name
        if not RUN_NAME.fullmatch(given):
            raise SpecError(
                f"a run cannot be named {shown(given)}: use at most 160 of a-z, 0-9, '_', '.' and '-', "
                "beginning with a letter or digit"
            )
        return given

    @property
    def default_run_name(self) -> str:
        """The run's name where the user gives none: curriculum-method-seed."""
        return f"{self.name}-{self.method}-{self.seed}"

    def to_record(self) -> dict[str, Any]:
        """The curriculum as JSON values, every default written out."""
        return self.model_dump(mode="json")
